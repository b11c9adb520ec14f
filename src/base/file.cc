// SPDX-License-Identifier: Apache-2.0
#include "base/file.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <climits>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <new>
#include <vector>

#include "base/error.h"

namespace vitrail {
namespace {
// Writes and reads of 2 GiB and more are cut short by Linux; this keeps each call below.
constexpr size_t kPiece = size_t{1} << 30;

std::string quoted(const std::string& path) { return "'" + printable(path) + "'"; }

[[noreturn]] void fail_io(const std::string& path, const char* action, int error) {
  fail(Code::io, "{}: cannot {}: {}", quoted(path), action, std::strerror(error));
}

// Names of temporary files for remove_unfinished_files, which may neither lock nor allocate. A file
// beyond these many at a time is only forgotten there; the next writer of its name removes it.
constexpr size_t kMostUnfinished = 16;
std::atomic<char*> unfinished[kMostUnfinished];

void note_unfinished(const std::string& path) {
  char* const copy = ::strdup(path.c_str());
  for (std::atomic<char*>& slot : unfinished)
    if (char* empty = nullptr; copy && slot.compare_exchange_strong(empty, copy)) return;
  std::free(copy);
}
void forget_unfinished(const std::string& path) {
  for (std::atomic<char*>& slot : unfinished) {
    char* noted = slot.load();
    if (!noted || path != noted || !slot.compare_exchange_strong(noted, nullptr)) continue;
    std::free(noted);
    return;
  }
}

class Descriptor {
 public:
  explicit Descriptor(int value) : value_(value) {}
  ~Descriptor() {
    if (value_ >= 0) ::close(value_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  Descriptor& operator=(Descriptor&& other) noexcept {
    std::swap(value_, other.value_);
    return *this;
  }
  int get() const { return value_; }

 private:
  int value_;
};

const char* kind_of(mode_t mode) {
  if (S_ISDIR(mode)) return "a directory";
  if (S_ISFIFO(mode)) return "a pipe";
  if (S_ISCHR(mode) || S_ISBLK(mode)) return "a device";
  if (S_ISSOCK(mode)) return "a socket";
  return "not a regular file";
}

// Size of an open file that must be regular and hold something.
size_t checked_size(const std::string& path, int descriptor) {
  struct stat info;
  if (::fstat(descriptor, &info) != 0) fail_io(path, "stat", errno);
  require(S_ISREG(info.st_mode), Code::bad_input, "{}: expected a regular file, found {}",
          quoted(path), kind_of(info.st_mode));
  require(info.st_size > 0, Code::bad_input, "{}: the file is empty", quoted(path));
  return static_cast<size_t>(info.st_size);
}

// O_NONBLOCK: opening a pipe without a writer would wait for ever.
constexpr int kOpenFlags = O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY;

int open_for_reading(const std::string& path) {
  // The system would cut the name at the NUL and open another file.
  require(path.find('\0') == std::string::npos, Code::usage, "{}: a NUL byte in a file name",
          quoted(path));
  const int descriptor = ::open(path.c_str(), kOpenFlags);
  if (descriptor < 0) fail_io(path, "open", errno);
  return descriptor;
}

std::string folder_of(const std::string& path) {
  const size_t slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}
std::string base_of(const std::string& path) {
  const size_t slash = path.rfind('/');
  return slash == std::string::npos ? path : path.substr(slash + 1);
}

std::string temporary_prefix(const std::string& target) {
  // Cut, so that prefix and number stay below NAME_MAX for every name the system allows.
  return "." + base_of(target).substr(0, 200) + ".tmp-";
}

// Temporaries of writers that died. A living writer holds a lock on its own; it takes that lock a
// moment after creating the file, hence the age.
void remove_stale_temporaries(const std::string& target) {
  constexpr time_t kAge = 10;
  const std::string folder = folder_of(target), prefix = temporary_prefix(target);
  DIR* listing = ::opendir(folder.c_str());
  if (listing == nullptr) return;  // creating the file reports what is wrong
  while (const dirent* entry = ::readdir(listing)) {
    if (std::strncmp(entry->d_name, prefix.c_str(), prefix.size()) != 0) continue;
    const Descriptor file(::openat(::dirfd(listing), entry->d_name, kOpenFlags | O_NOFOLLOW));
    struct stat info;
    if (file.get() >= 0 && ::fstat(file.get(), &info) == 0 && S_ISREG(info.st_mode) &&
        info.st_mtime + kAge < std::time(nullptr) && ::flock(file.get(), LOCK_EX | LOCK_NB) == 0)
      ::unlinkat(::dirfd(listing), entry->d_name, 0);
  }
  ::closedir(listing);
}

std::string resolve_links(const std::string& path) {
  struct stat info;
  if (::lstat(path.c_str(), &info) != 0 || !S_ISLNK(info.st_mode)) return path;
  char* resolved = ::realpath(path.c_str(), nullptr);
  if (resolved == nullptr) fail_io(path, "follow the symbolic link", errno);
  std::string out = resolved;
  std::free(resolved);
  return out;
}
}  // namespace

std::string read_file(const std::string& path, size_t limit) {
  const Descriptor file(open_for_reading(path));
  const size_t size = checked_size(path, file.get());
  require(size <= limit, Code::bad_input, "{}: {} bytes, more than the {} allowed here",
          quoted(path), size, limit);
  std::string out;
  try {
    out.resize(size);
  } catch (const std::bad_alloc&) {
    fail(Code::resource, "{}: no memory for its {} bytes", quoted(path), size);
  }
  size_t done = 0;
  while (done < size) {
    const ssize_t got = ::read(file.get(), out.data() + done, std::min(size - done, kPiece));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) fail_io(path, "read", errno);
    require(got > 0, Code::io, "{}: ended at byte {} of {} while being read", quoted(path), done,
            size);
    done += static_cast<size_t>(got);
  }
  return out;
}

MappedFile::MappedFile(std::string path, int descriptor) : path_(std::move(path)) {
  const Descriptor file(descriptor);
  size_ = checked_size(path_, descriptor);
  void* data = ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, descriptor, 0);
  if (data == MAP_FAILED) {
    const int error = errno;
    require(error != ENOMEM, Code::resource, "{}: no address space for its {} bytes", quoted(path_),
            size_);
    fail_io(path_, "map", error);
  }
  data_ = data;
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(const_cast<void*>(data_), size_);
}

std::shared_ptr<const MappedFile> MappedFile::open(const std::string& path) {
  return std::shared_ptr<const MappedFile>(new MappedFile(path, open_for_reading(path)));
}

std::shared_ptr<const MappedFile> MappedFile::open_beneath(const std::string& directory,
                                                           const std::string& relative) {
  require(!relative.empty() && relative[0] != '/' && relative.find('\0') == std::string::npos,
          Code::bad_input, "external data {}: expected a path relative to the model's folder",
          quoted(relative));
  const std::string folder = directory.empty() ? "." : directory;
  const std::string shown = folder + "/" + relative;
  Descriptor at(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (at.get() < 0) fail_io(folder, "open", errno);
  size_t begin = 0;
  while (true) {
    const size_t slash = relative.find('/', begin);
    const bool last = slash == std::string::npos;
    const std::string part = relative.substr(begin, last ? std::string::npos : slash - begin);
    begin = slash + 1;
    if (!last && (part.empty() || part == ".")) continue;
    require(part != ".." && !part.empty(), Code::bad_input,
            "external data {}: leaves the model's folder or names no file", quoted(relative));
    const int flags =
        last ? kOpenFlags | O_NOFOLLOW : O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW;
    const int next = ::openat(at.get(), part.c_str(), flags);
    // O_NOFOLLOW gives ELOOP for a link, with O_DIRECTORY some kernels give ENOTDIR.
    struct stat info;
    if (next < 0 && (errno == ELOOP || errno == ENOTDIR) &&
        ::fstatat(at.get(), part.c_str(), &info, AT_SYMLINK_NOFOLLOW) == 0)
      require(!S_ISLNK(info.st_mode), Code::bad_input,
              "external data {}: {} is a symbolic link, which is not followed; put the file itself "
              "beside the model",
              quoted(relative), quoted(part));
    if (next < 0) fail_io(shown, "open", errno);
    at = Descriptor(next);
    if (last) break;
  }
  struct stat info;
  if (::fstat(at.get(), &info) != 0) fail_io(shown, "stat", errno);
  require(!S_ISREG(info.st_mode) || info.st_nlink == 1, Code::bad_input,
          "external data {}: the file has {} hard links, expected 1; copy it beside the model",
          quoted(relative), info.st_nlink);
  const int descriptor = ::fcntl(at.get(), F_DUPFD_CLOEXEC, 0);
  if (descriptor < 0) fail_io(shown, "open", errno);
  return std::shared_ptr<const MappedFile>(new MappedFile(shown, descriptor));
}

AtomicFile::AtomicFile(const std::string& path) : shown_(path) {
  require(!path.empty() && path.find('\0') == std::string::npos, Code::usage,
          "{}: not a name for an output file", quoted(path));
  target_ = resolve_links(path);
  struct stat info;
  const bool exists = ::stat(target_.c_str(), &info) == 0;
  if (exists) {
    require(S_ISREG(info.st_mode), Code::usage, "{}: cannot write a file here, this is {}",
            quoted(path), kind_of(info.st_mode));
    // Renaming over a read-only file would succeed.
    if (::access(target_.c_str(), W_OK) != 0) fail_io(path, "write", errno);
  }
  remove_stale_temporaries(target_);
  static std::atomic<unsigned> counter{0};
  const std::string prefix =
      (target_.find('/') == std::string::npos ? "" : folder_of(target_) + "/") +
      temporary_prefix(target_);
  for (int attempt = 0; descriptor_ < 0; ++attempt) {
    temporary_ = fmt::format("{}{}-{}", prefix, ::getpid(), counter++);
    descriptor_ = ::open(temporary_.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (descriptor_ < 0 && (errno != EEXIST || attempt > 100)) fail_io(path, "create", errno);
  }
  note_unfinished(temporary_);
  ::flock(descriptor_, LOCK_EX | LOCK_NB);  // marks a living writer, see remove_stale_temporaries
  if (exists && ::fchmod(descriptor_, info.st_mode & 07777) != 0) {
    const int error = errno;
    ::unlink(temporary_.c_str());
    forget_unfinished(temporary_);
    ::close(descriptor_);
    fail_io(path, "set the permissions", error);
  }
}

AtomicFile::~AtomicFile() {
  if (!temporary_.empty()) {
    ::unlink(temporary_.c_str());
    forget_unfinished(temporary_);
  }
  if (descriptor_ >= 0) ::close(descriptor_);
}

void AtomicFile::refuse(const char* action) const { fail_io(shown_, action, errno); }

void AtomicFile::write(Bytes bytes) {
  while (!bytes.empty()) {
    const ssize_t done = ::write(descriptor_, bytes.data(), std::min(bytes.size(), kPiece));
    if (done < 0 && errno == EINTR) continue;
    if (done < 0) refuse("write");
    bytes = bytes.subspan(static_cast<size_t>(done));
    size_ += static_cast<uint64_t>(done);
  }
}

void AtomicFile::align(size_t alignment) {
  const std::vector<std::byte> zeros((alignment - size_ % alignment) % alignment);
  write(Bytes(zeros));
}

void AtomicFile::overwrite(uint64_t offset, Bytes bytes) {
  require(offset <= size_ && bytes.size() <= size_ - offset, Code::internal,
          "{}: overwrite of bytes {}+{} in a file of {}", quoted(shown_), offset, bytes.size(),
          size_);
  while (!bytes.empty()) {
    const ssize_t done = ::pwrite(descriptor_, bytes.data(), std::min(bytes.size(), kPiece),
                                  static_cast<off_t>(offset));
    if (done < 0 && errno == EINTR) continue;
    if (done < 0) refuse("write");
    bytes = bytes.subspan(static_cast<size_t>(done));
    offset += static_cast<uint64_t>(done);
  }
}

void AtomicFile::commit() {
  if (::fsync(descriptor_) != 0) refuse("sync");
  // Some file systems report a full disk only when the file is closed.
  const int closed = ::close(descriptor_);
  descriptor_ = -1;
  if (closed != 0) refuse("close");
  if (::rename(temporary_.c_str(), target_.c_str()) != 0) refuse("rename into place");
  forget_unfinished(temporary_);
  temporary_.clear();
  const std::string folder = folder_of(target_);
  const Descriptor directory(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  // A folder that may be written but not read cannot be synced; the file itself is.
  if (directory.get() >= 0 && ::fsync(directory.get()) != 0 && errno != EINVAL)
    fail_io(folder, "sync the folder", errno);
}

void write_atomically(const std::string& path, std::span<const Bytes> chunks) {
  AtomicFile file(path);
  for (const Bytes& chunk : chunks) file.write(chunk);
  file.commit();
}

void write_atomically(const std::string& path, std::string_view text) {
  const Bytes chunk = as_bytes(text);
  write_atomically(path, std::span<const Bytes>(&chunk, 1));
}

void remove_unfinished_files() noexcept {
  for (const std::atomic<char*>& slot : unfinished)
    if (const char* path = slot.load()) ::unlink(path);
}

void require_distinct(const std::string& input, const std::string& output) {
  struct stat a, b;
  if (::stat(input.c_str(), &a) != 0 || ::stat(output.c_str(), &b) != 0) return;
  require(a.st_dev != b.st_dev || a.st_ino != b.st_ino, Code::usage,
          "output {} is the input file; choose another name", quoted(output));
}

}  // namespace vitrail
