// SPDX-License-Identifier: MIT
#include "unpacked.h"

#include "error.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <map>
#include <mutex>
#include <stdexcept>
#include <string>
#include <vector>

#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <ftw.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

// No std::filesystem: torch's libraries export a part of it that was compiled elsewhere, and an
// extension module of Python would get a mixture of theirs and the system's
// (github.com/pytorch/pytorch/issues/133437).
namespace legato {

namespace {

constexpr const char *kPrefix = "nequip-legato-model-";
constexpr double kYoung = 60.0;    // seconds in which a folder may not be locked yet

// Removes a folder with all that is in it, as far as that can be done.
void remove_all(const std::string &folder)
{
  const auto remove_one = [](const char *path, const struct stat *, int, struct FTW *) {
    std::remove(path);
    return 0;
  };
  nftw(folder.c_str(), remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

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

// 0 if there is none.
ino_t number_of(const int file)
{
  struct stat state;
  return file >= 0 && fstat(file, &state) == 0 ? state.st_ino : 0;
}

ino_t number_of(const std::string &path)
{
  struct stat state;
  return stat(path.c_str(), &state) == 0 ? state.st_ino : 0;
}

// Unpacked::where() of each way: a letter, the file's number, and its name, which may hold
// anything.
std::string whereabouts(const char way, const ino_t number, const std::string &name)
{
  return way + std::to_string(number) + ' ' + name;
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
  std::string where() const override
  {
    const std::string seen_by_others =
        "/proc/" + std::to_string(getpid()) + "/fd/" + std::to_string(file_);
    return whereabouts('m', number_of(file_), seen_by_others);
  }

 private:
  int file_;
};

// Removes the folders that are still there at the end of the process, for LAMMPS ends without
// destroying its styles after an error. Each process that uses a folder holds a shared lock of it,
// and the last one removes it.
class Folders {
 public:
  ~Folders()
  {
    const auto left = held_;
    for (const auto &folder : left) remove(folder.first);
  }
  // Whether the folder is there and can be locked, or lies on a file system without locks.
  bool add(const std::string &folder)
  {
    const int file = open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (file < 0) return false;
    const bool locked = flock(file, LOCK_SH | LOCK_NB) == 0;
    if (!locked && errno == EWOULDBLOCK) {
      close(file);
      return false;
    }
    const std::lock_guard<std::mutex> lock(mutex_);
    held_[folder] = {file, locked};
    return true;
  }
  // Whether other processes see that the folder is used.
  bool locked(const std::string &folder)
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    const auto found = held_.find(folder);
    return found != held_.end() && found->second.locked;
  }
  void remove(const std::string &folder)
  {
    if (getpid() != process_) return;    // a forked child
    const std::lock_guard<std::mutex> lock(mutex_);
    const auto found = held_.find(folder);
    if (found == held_.end()) return;
    const int file = found->second.file;
    const bool used = flock(file, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK;
    if (!used) remove_all(folder);
    close(file);
    held_.erase(found);
  }

 private:
  pid_t process_ = getpid();
  std::mutex mutex_;
  struct Held {
    int file;
    bool locked;    // false where the file system has no locks
  };
  std::map<std::string, Held> held_;
};

Folders &folders()
{
  static Folders used;
  return used;
}

std::string temporary_folder()
{
  const char *chosen = std::getenv("TMPDIR");
  return chosen && *chosen ? chosen : "/tmp";
}

// Folders of processes that were killed: nobody holds their lock. Those of other users, and of file
// systems without locks, are left alone.
void remove_abandoned(const std::string &parent)
{
  DIR *const listing = opendir(parent.c_str());
  if (!listing) return;
  std::vector<std::string> found;
  while (const dirent *entry = readdir(listing))
    if (std::string(entry->d_name).rfind(kPrefix, 0) == 0)
      found.push_back(parent + "/" + entry->d_name);
  closedir(listing);
  for (const std::string &path : found) {
    const int folder = open(path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (folder < 0) continue;
    struct stat state;
    const bool old = fstat(folder, &state) == 0 && state.st_uid == geteuid() &&
                     std::difftime(std::time(nullptr), state.st_mtime) > kYoung;
    if (old && flock(folder, LOCK_EX | LOCK_NB) == 0) remove_all(path);
    close(folder);
  }
}

Error unwritable(const std::string &where)
{
  return Error("the model cannot be unpacked in " + where + " (" + std::strerror(errno) +
               "); make room there, or set TMPDIR to another folder");
}

void write_file(const std::string &path, const std::string &content)
{
  const int file = open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0700);
  const bool written = file >= 0 && write_all(file, content);
  const int reason = errno;
  if (file >= 0) close(file);
  errno = reason;
  if (!written) throw unwritable(path);
}

// A folder that is one of folders() as long as this object lives.
class InFolder : public Unpacked {
 public:
  InFolder(const std::string &folder, const std::string &library, const bool keep) :
      folder_(folder), library_(library), keep_(keep)
  {
  }
  ~InFolder() override { folders().remove(folder_); }

  std::string library() const override { return folder_ + "/" + library_; }
  std::string folder() const override { return folder_; }
  void loaded() override
  {
    if (!keep_) folders().remove(folder_);
  }
  std::string where() const override
  {
    if (!folders().locked(folder_)) return "";
    return whereabouts(keep_ ? 'k' : 'f', number_of(library()), library());
  }

 private:
  std::string folder_, library_;
  bool keep_;
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
  const auto names = needed_files(package, model);
  const std::string library = library_among(names);
  const std::string parent = temporary_folder();
  remove_abandoned(parent);
  std::string folder = parent + "/" + kPrefix + "XXXXXX";
  if (!mkdtemp(folder.data()) || !folders().add(folder)) throw unwritable(parent);
  auto unpacked = std::make_unique<InFolder>(folder, library, keep);
  for (const auto &name : names) write_file(folder + "/" + name, package.content(model, name));
  return unpacked;
}

std::unique_ptr<Unpacked> unpacked_elsewhere(const std::string &where)
{
  const auto space = where.find(' ');
  if (space == std::string::npos) return nullptr;
  const std::string name = where.substr(space + 1);
  const auto is_it = [&where, &name](const ino_t number) {
    return number != 0 && whereabouts(where[0], number, name) == where;
  };
  if (where[0] == 'm') {
    const int file = open(name.c_str(), O_RDONLY | O_CLOEXEC);
    if (is_it(number_of(file))) return std::make_unique<InMemory>(file);
    if (file >= 0) close(file);
    return nullptr;
  }
  const auto slash = name.rfind('/');
  if (slash == std::string::npos) return nullptr;
  const std::string folder = name.substr(0, slash), library = name.substr(slash + 1);
  if (!is_it(number_of(name)) || !folders().add(folder)) return nullptr;
  auto unpacked = std::make_unique<InFolder>(folder, library, where[0] == 'k');
  // It may have gone before it was locked.
  return is_it(number_of(name)) ? std::move(unpacked) : nullptr;
}

}    // namespace legato
