// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <string>
#include <vector>

#include "import/bytes.h"

namespace vitrail {

/// A zip archive as numpy and PyTorch write it, read in place. The directory is checked as a whole
/// before anything is read: members inside the file and apart from each other (no overlapping-files
/// bomb), no repeated names, no names that leave a folder, nothing encrypted or split. Our own
/// reader and not libzip, because stored members are handed out where they lie in the mapping.
class Archive {
 public:
  struct Member {
    std::string name;
    Bytes stored;  ///< as it lies in the file
    bool deflated = false;
    uint64_t size = 0;  ///< after expansion
    uint32_t crc = 0;
  };

  /// Throws Error(bad_input) for damage, Error(unsupported) for features outside the above.
  Archive(SharedBytes file, std::string name);

  const std::string& name() const { return name_; }
  const std::vector<Member>& members() const { return members_; }
  const Member* find(std::string_view name) const;
  /// "'w.npz' member 'a.npy'", for messages.
  std::string describe(const Member& member) const;

  /// The contents of a member: in place when stored, otherwise expanded; its CRC is checked.
  /// What all members together may expand to is limited to 64 MiB and 100 times the archive.
  SharedBytes read(const Member& member) const;

 private:
  void read_directory();
  void check_names_and_places();
  SharedBytes file_;
  std::string name_;
  std::vector<Member> members_;
};

/// Bytes of a zip archive of stored members, in pieces: data starts at multiples of 64, so that
/// readers can map it. Archives and members beyond 4 GiB get zip64 records. The bytes of a member
/// are those of its chunks one after another; they must outlive the writer.
class ArchiveWriter {
 public:
  explicit ArchiveWriter(AtomicFile& file) : file_(file) {}
  void add(const std::string& name, std::span<const Bytes> chunks);
  /// Writes the directory; the file is still to be committed.
  void finish();

 private:
  AtomicFile& file_;
  std::string directory_;
  uint64_t count_ = 0;
};

}  // namespace vitrail
