// SPDX-License-Identifier: MIT
#include "unpacked.h"

#include "error.h"

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <filesystem>
#include <mutex>
#include <set>
#include <stdexcept>

#include <dlfcn.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

namespace legato {

namespace fs = std::filesystem;

namespace {

constexpr const char *kPrefix = "nequip-legato-model-";
constexpr double kYoung = 60.0;    // seconds in which a folder may not be locked yet

bool ends_with(const std::string &text, const std::string &end)
{
  return text.size() >= end.size() && text.compare(text.size() - end.size(), end.size(), end) == 0;
}

// What is read when the model is loaded or evaluated. Sources and metadata are not.
std::vector<std::string> needed_files(const Package &package, const std::string &model)
{
  std::vector<std::string> names = package.files(model);
  const auto unneeded = [](const std::string &name) {
    return ends_with(name, ".cpp") || ends_with(name, "_metadata.json");
  };
  names.erase(std::remove_if(names.begin(), names.end(), unneeded), names.end());
  return names;
}

std::string library_among(const std::vector<std::string> &names)
{
  for (const std::string &name : names)
    if (ends_with(name, ".so")) return name;
  throw std::runtime_error("it holds no compiled library");
}

bool write_all(const int file, const std::string &content)
{
  for (std::size_t at = 0; at < content.size();) {
    const ssize_t written = write(file, content.data() + at, content.size() - at);
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return false;
    at += static_cast<std::size_t>(written);
  }
  return true;
}

class InMemory : public Unpacked {
 public:
  explicit InMemory(const int file) : file_(file) {}

  ~InMemory() override
  {
    // The dynamic loader knows libraries by name. One that cannot be unloaded, which is common for
    // C++, keeps its name, so nothing else may get it: the next model would be this one.
    if (void *resident = dlopen(library().c_str(), RTLD_LAZY | RTLD_NOLOAD)) {
      dlclose(resident);
      return;
    }
    close(file_);
  }

  std::string library() const override { return "/proc/self/fd/" + std::to_string(file_); }

 private:
  int file_;
};

// Removes at the end of the process what is still there, for LAMMPS ends without destroying its
// styles after an error.
class AtExit {
 public:
  ~AtExit()
  {
    if (getpid() != process_) return;    // a forked child
    for (const auto &folder : folders_) {
      std::error_code ignored;
      fs::remove_all(folder, ignored);
    }
  }
  void add(const std::string &folder)
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    folders_.insert(folder);
  }
  void remove(const std::string &folder)
  {
    std::error_code ignored;
    fs::remove_all(folder, ignored);
    const std::lock_guard<std::mutex> lock(mutex_);
    folders_.erase(folder);
  }

 private:
  pid_t process_ = getpid();
  std::mutex mutex_;
  std::set<std::string> folders_;
};

AtExit &at_exit()
{
  static AtExit folders;
  return folders;
}

fs::path temporary_folder()
{
  const char *chosen = std::getenv("TMPDIR");
  return chosen && *chosen ? chosen : "/tmp";
}

// Folders of processes that were killed: nobody holds their lock. Those of other users, and of file
// systems without locks, are left alone.
void remove_abandoned(const fs::path &parent)
{
  std::error_code ignored;
  for (const auto &entry : fs::directory_iterator(parent, ignored)) {
    if (entry.path().filename().string().rfind(kPrefix, 0) != 0) continue;
    const int folder = open(entry.path().c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (folder < 0) continue;
    struct stat state;
    const bool old = fstat(folder, &state) == 0 && state.st_uid == geteuid() &&
                     std::difftime(std::time(nullptr), state.st_mtime) > kYoung;
    if (old && flock(folder, LOCK_EX | LOCK_NB) == 0) fs::remove_all(entry.path(), ignored);
    close(folder);
  }
}

class InFolder : public Unpacked {
 public:
  InFolder(Package &package, const std::string &model, bool keep) : keep_(keep)
  {
    const fs::path parent = temporary_folder();
    remove_abandoned(parent);
    std::string name = (parent / kPrefix).string() + "XXXXXX";
    if (!mkdtemp(name.data())) throw unwritable(parent);
    folder_ = name;
    at_exit().add(folder_);
    lock_ = open(folder_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (lock_ >= 0) flock(lock_, LOCK_EX | LOCK_NB);
    try {
      const auto names = needed_files(package, model);
      library_ = folder_ + "/" + library_among(names);
      for (const auto &file : names) write_file(folder_ + "/" + file, package.content(model, file));
    } catch (...) {
      remove();
      throw;
    }
  }

  ~InFolder() override { remove(); }

  std::string library() const override { return library_; }
  std::string folder() const override { return folder_; }
  void loaded() override
  {
    if (!keep_) remove();
  }

 private:
  static Error unwritable(const fs::path &where)
  {
    return Error("the model cannot be unpacked in " + where.string() + " (" + std::strerror(errno) +
                 "); make room there, or set TMPDIR to another folder");
  }

  static void write_file(const std::string &path, const std::string &content)
  {
    const int file = open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0700);
    const bool written = file >= 0 && write_all(file, content);
    const int reason = errno;
    if (file >= 0) close(file);
    errno = reason;
    if (!written) throw unwritable(path);
  }

  void remove()
  {
    if (!folder_.empty()) at_exit().remove(folder_);
    if (lock_ >= 0) close(lock_);
    folder_.clear();
    lock_ = -1;
  }

  std::string folder_, library_;
  bool keep_;
  int lock_ = -1;
};

}    // namespace

std::unique_ptr<Unpacked> unpack_in_memory(Package &package, const std::string &model)
{
  const auto names = needed_files(package, model);
  const std::string library = library_among(names);
  if (names.size() != 1) return nullptr;
  const int file = memfd_create("nequip-legato-model", MFD_CLOEXEC);
  if (file < 0) return nullptr;
  auto unpacked = std::make_unique<InMemory>(file);
  return write_all(file, package.content(model, library)) ? std::move(unpacked) : nullptr;
}

std::unique_ptr<Unpacked> unpack_in_folder(Package &package, const std::string &model,
                                           const bool keep)
{
  return std::make_unique<InFolder>(package, model, keep);
}

}    // namespace legato
