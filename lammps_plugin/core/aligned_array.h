// SPDX-License-Identifier: MIT
// An array whose memory begins where torch's own arrays begin, so that a model can read it in
// place. Vectorized sums over memory that is aligned by chance would differ in the last bit from
// thread to thread.
#pragma once

#include <cstddef>
#include <memory>
#include <new>
#include <type_traits>

namespace legato {

template <class T> class AlignedArray {
  static_assert(std::is_trivial_v<T>);
  static constexpr std::align_val_t kAlignment{64};

 public:
  // Makes room for `size` numbers. What the array held is lost if it has to grow; new numbers are
  // not initialized.
  void make_room(std::size_t size)
  {
    if (size <= room_) return;
    const std::size_t room = size + size / 4;    // a little more, because blocks differ
    data_.reset();
    room_ = 0;    // should there be no memory
    data_.reset(static_cast<T *>(::operator new(room * sizeof(T), kAlignment)));
    room_ = room;
  }

  std::size_t room() const { return room_; }
  T *data() { return data_.get(); }
  const T *data() const { return data_.get(); }
  T &operator[](std::size_t i) { return data_[i]; }
  const T &operator[](std::size_t i) const { return data_[i]; }

 private:
  struct Free {
    void operator()(T *data) const { ::operator delete(data, kAlignment); }
  };
  std::unique_ptr<T[], Free> data_;
  std::size_t room_ = 0;
};

}    // namespace legato
