// SPDX-License-Identifier: Apache-2.0
#include "plan/plan_file.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <set>

#include "base/error.h"
#include "base/sniff.h"
#include "plan/tables.h"
#include "plan/validate.h"

namespace vitrail {
namespace {
// Like PNG's: a byte outside ASCII, line ends that a text transfer would change, a Ctrl-Z.
constexpr char kMagic[8] = {'\x89', 'V', 'T', 'R', '\r', '\n', '\x1a', '\n'};
constexpr uint32_t kEndianMark = 0x01020304;
constexpr uint64_t kAlign = 64;
constexpr uint32_t kMaxSections = 64;
constexpr uint64_t kSmall = 1 << 20;  // weights that cost nothing to check all of

struct Header {
  char magic[8];
  uint32_t endian;
  uint32_t format;
  char engine[24];  // version text, zero-filled
  uint64_t file_bytes;
  uint64_t content_high, content_low;
  uint32_t sections;
  uint32_t reserved0;
  uint64_t table_hash;
  uint8_t reserved[40];
  uint64_t header_hash;  // XXH3-64 of the bytes before
};
static_assert(sizeof(Header) == 128);

enum class SectionKind : uint32_t { target = 1, blob_index = 2, record = 3, weights = 4 };
struct Section {
  uint32_t kind;
  uint32_t reserved;
  uint64_t offset, size;
  uint64_t hash;  // weights: 0, each blob has its digest
};
static_assert(sizeof(Section) == 32);
static_assert(sizeof(PlanFile::Blob) == 32);

template <typename T>
Bytes bytes_of(const T& object) {
  return {reinterpret_cast<const std::byte*>(&object), sizeof object};
}
template <typename T>
Bytes bytes_of(const std::vector<T>& list) {
  return {reinterpret_cast<const std::byte*>(list.data()), list.size() * sizeof(T)};
}
uint64_t align_up(uint64_t offset) { return (offset + kAlign - 1) / kAlign * kAlign; }
bool all_zero(Bytes bytes) {
  return std::all_of(bytes.begin(), bytes.end(), [](std::byte b) { return b == std::byte{0}; });
}

// --- writing
class BlobStore {
 public:
  uint32_t add(Bytes bytes) {
    const Digest digest = xxh3_128(bytes);
    const auto [found, added] =
        index_.try_emplace({digest, bytes.size()}, static_cast<uint32_t>(contents.size()));
    if (added) {
      contents.push_back(bytes);
      blobs.push_back({digest, 0, bytes.size()});
    } else {
      require(std::equal(bytes.begin(), bytes.end(), contents[found->second].begin()),
              Code::internal, "two weights have the digest {}", digest.str());
    }
    return found->second;
  }
  std::vector<Bytes> contents;
  std::vector<PlanFile::Blob> blobs;

 private:
  std::map<std::pair<Digest, size_t>, uint32_t> index_;
};
}  // namespace

void save_plan(const std::string& path, std::span<const Plan* const> targets,
               const std::string& written) {
  require(!targets.empty() && targets.size() + 3 <= kMaxSections, Code::internal,
          "a plan file of {} targets", targets.size());
  BlobStore store;
  std::vector<std::vector<std::byte>> payloads;
  std::vector<Section> sections;
  const auto add = [&](SectionKind kind, std::vector<std::byte> payload) {
    sections.push_back({static_cast<uint32_t>(kind), 0, 0, payload.size(), xxh3_64(payload)});
    payloads.push_back(std::move(payload));
  };
  std::set<std::string> names;
  for (const Plan* plan : targets) {
    require(names.insert(plan->target).second, Code::internal, "two sections for the target '{}'",
            plan->target);
    try {
      validate(*plan);
    } catch (const Error& error) {
      fail(Code::internal, "a plan that was about to be written is not sound: {}", error.what());
    }
    add(SectionKind::target, encode_target(*plan, [&](Bytes b) { return store.add(b); }));
  }
  const std::vector<std::byte> record = encode_record(targets, written);

  // Offsets: everything small first, so that a reader touches few pages before the weights.
  const uint64_t index_bytes = store.blobs.size() * sizeof(PlanFile::Blob);
  uint64_t at = sizeof(Header) + (targets.size() + 3) * sizeof(Section);
  const auto place = [&](uint64_t size) {
    const uint64_t begin = align_up(at);
    at = begin + size;
    return begin;
  };
  for (Section& s : sections) s.offset = place(s.size);
  const uint64_t index_offset = place(index_bytes), record_offset = place(record.size());
  const uint64_t weights_offset = place(0);
  for (PlanFile::Blob& blob : store.blobs) blob.offset = place(blob.size);

  Hasher content;
  for (const auto& payload : payloads) content.update(payload);
  Hasher digests;  // without offsets: where a record ends depends on its length
  for (const PlanFile::Blob& blob : store.blobs) digests.update(bytes_of(blob.digest));
  const Digest weights = digests.digest();
  content.update(bytes_of(weights));

  sections.push_back({static_cast<uint32_t>(SectionKind::blob_index), 0, index_offset, index_bytes,
                      xxh3_64(bytes_of(store.blobs))});
  sections.push_back({static_cast<uint32_t>(SectionKind::record), 0, record_offset, record.size(),
                      xxh3_64(record)});
  sections.push_back(
      {static_cast<uint32_t>(SectionKind::weights), 0, weights_offset, at - weights_offset, 0});

  Header header{};
  std::memcpy(header.magic, kMagic, sizeof kMagic);
  header.endian = kEndianMark;
  header.format = kPlanFormat;
  std::strncpy(header.engine, VITRAIL_VERSION, sizeof header.engine - 1);
  header.file_bytes = at;
  header.content_high = content.digest().high;
  header.content_low = content.digest().low;
  header.sections = static_cast<uint32_t>(sections.size());
  header.table_hash = xxh3_64(bytes_of(sections));
  header.header_hash = xxh3_64(bytes_of(header).first(offsetof(Header, header_hash)));

  AtomicFile file(path);
  const auto write = [&](uint64_t offset, Bytes bytes) {
    file.align(kAlign);
    require(file.size() == offset, Code::internal, "a section of the plan is at {}, planned for {}",
            file.size(), offset);
    file.write(bytes);
  };
  file.write(bytes_of(header));
  file.write(bytes_of(sections));
  for (size_t i = 0; i < payloads.size(); ++i) write(sections[i].offset, payloads[i]);
  write(index_offset, bytes_of(store.blobs));
  write(record_offset, record);
  write(weights_offset, {});
  for (size_t i = 0; i < store.blobs.size(); ++i) write(store.blobs[i].offset, store.contents[i]);
  file.commit();
}

// --- reading
namespace {
Header read_header(Bytes file) {
  const std::string_view text = as_text(file);
  require(!text.starts_with("ftrt") && !text.starts_with("ptrt"), Code::unsupported,
          "this is a TensorRT engine, which only TensorRT can run; build a plan from the ONNX "
          "model it was made from");
  require(
      looks_like_plan(file), Code::bad_input,
      "this is not a Vitrail plan but {}; `vitrail build model.onnx -o model.vitrail` makes one",
      content_kind(file));
  require(file.size() >= sizeof(Header), Code::bad_input, "the plan is cut off after {} bytes",
          file.size());
  Header header;
  std::memcpy(&header, file.data(), sizeof header);
  require(header.endian != __builtin_bswap32(kEndianMark), Code::wrong_target,
          "the plan was built on a machine of the other byte order; build it again on this one");
  require(header.header_hash == xxh3_64(file.first(offsetof(Header, header_hash))), Code::bad_input,
          "the plan's header is damaged (checksum); copy or build it again");
  const std::string engine(header.engine, ::strnlen(header.engine, sizeof header.engine));
  require(header.endian == kEndianMark && header.format == kPlanFormat && engine == VITRAIL_VERSION,
          Code::wrong_target,
          "the plan was built by vitrail {} (plan format {}), this is vitrail {} (plan format {}): "
          "build it again from the model with `vitrail build model.onnx -o model.vitrail`",
          printable(engine), header.format, VITRAIL_VERSION, kPlanFormat);
  require(header.file_bytes == file.size(), Code::bad_input,
          "the plan has {} bytes, its header says {}: it was cut off or added to", file.size(),
          header.file_bytes);
  require(
      header.reserved0 == 0 && all_zero(Bytes(reinterpret_cast<const std::byte*>(header.reserved),
                                              sizeof header.reserved)),
      Code::bad_input, "the plan's header has bits set that this version does not know");
  return header;
}

std::vector<Section> read_sections(Bytes file, const Header& header) {
  require(header.sections >= 4 && header.sections <= kMaxSections, Code::bad_input,
          "a plan of {} sections", header.sections);
  const size_t table_bytes = header.sections * sizeof(Section);
  require(sizeof(Header) + table_bytes <= file.size(), Code::bad_input,
          "the plan's section table is cut off");
  const Bytes table = file.subspan(sizeof(Header), table_bytes);
  require(header.table_hash == xxh3_64(table), Code::bad_input,
          "the plan's section table is damaged (checksum)");
  std::vector<Section> sections(header.sections);
  std::memcpy(sections.data(), table.data(), table_bytes);

  // In order, aligned, without overlap; between them only zeros.
  constexpr SectionKind kTail[] = {SectionKind::blob_index, SectionKind::record,
                                   SectionKind::weights};
  uint64_t end = sizeof(Header) + table_bytes;
  for (size_t i = 0; i < sections.size(); ++i) {
    const Section& s = sections[i];
    const SectionKind expected =
        i + 3 < sections.size() ? SectionKind::target : kTail[i + 3 - sections.size()];
    require(s.kind == static_cast<uint32_t>(expected) && s.reserved == 0, Code::bad_input,
            "section {} is of kind {}, expected {}", i, s.kind, static_cast<uint32_t>(expected));
    require(s.offset == align_up(end) && s.size <= file.size() && s.offset <= file.size() - s.size,
            Code::bad_input, "section {} lies at {} with {} bytes; expected at {} in a file of {}",
            i, s.offset, s.size, align_up(end), file.size());
    require(all_zero(file.subspan(end, s.offset - end)), Code::bad_input,
            "bytes between sections are not zero");
    end = s.offset + s.size;
  }
  require(end == file.size(), Code::bad_input, "{} bytes after the last section",
          file.size() - end);
  return sections;
}

// A copy with the alignment flatbuffers needs, so that nobody changes the tables between check and
// use.
std::vector<std::byte> checked_copy(Bytes file, const Section& s, size_t index) {
  const Bytes bytes = file.subspan(s.offset, s.size);
  std::vector<std::byte> copy(bytes.begin(), bytes.end());
  require(xxh3_64(copy) == s.hash, Code::bad_input,
          "section {} of the plan is damaged (checksum); copy or build it again", index);
  return copy;
}

std::vector<PlanFile::Blob> read_blobs(Bytes index, Bytes file, const Section& weights) {
  require(index.size() % sizeof(PlanFile::Blob) == 0, Code::bad_input,
          "the weight index has {} bytes", index.size());
  std::vector<PlanFile::Blob> blobs(index.size() / sizeof(PlanFile::Blob));
  if (!blobs.empty()) std::memcpy(blobs.data(), index.data(), index.size());
  uint64_t end = weights.offset;
  for (size_t i = 0; i < blobs.size(); ++i) {
    const PlanFile::Blob& b = blobs[i];
    const uint64_t limit = weights.offset + weights.size;
    require(b.offset == align_up(end) && b.size <= limit && b.offset <= limit - b.size,
            Code::bad_input,
            "weight {} lies at {} with {} bytes; expected at {}, the weights end at {}", i,
            b.offset, b.size, align_up(end), limit);
    require(all_zero(file.subspan(end, b.offset - end)), Code::bad_input,
            "bytes between weights are not zero");
    end = b.offset + b.size;
  }
  require(end == weights.offset + weights.size, Code::bad_input, "bytes after the last weight");
  return blobs;
}
void verify_blob(const PlanFile& file, size_t i) {
  const PlanFile::Blob& blob = file.blobs[i];
  require(xxh3_128(file.bytes.subspan(blob.offset, blob.size)) == blob.digest, Code::bad_input,
          "weight {} of the plan is damaged (checksum); copy or build it again", i);
}
}  // namespace

bool looks_like_plan(Bytes head) {
  return head.size() >= sizeof kMagic && std::memcmp(head.data(), kMagic, sizeof kMagic) == 0;
}

PlanFile load_plan_file(const std::string& path, WeightCheck check) {
  const std::shared_ptr<const MappedFile> file = MappedFile::open(path);
  return read_plan(file->bytes(), file, path, check);
}

PlanFile read_plan(Bytes file, std::shared_ptr<const void> owner, const std::string& path,
                   WeightCheck check) {
  require(reinterpret_cast<uintptr_t>(file.data()) % kAlign == 0, Code::internal,
          "a plan in memory must be {}-byte aligned", kAlign);
  PlanFile out{.path = path, .bytes = file, .owner = std::move(owner)};
  return with_context(fmt::format("'{}'", printable(path)), [&] {
    const Header header = read_header(file);
    const std::vector<Section> sections = read_sections(file, header);
    const size_t target_count = sections.size() - 3;
    const Section& weights = sections.back();
    out.blobs = read_blobs(checked_copy(file, sections[target_count], target_count), file, weights);

    std::vector<bool> runs(out.blobs.size(), false);
    const FindBlob find = [&](uint32_t i, bool source) {
      require(i < out.blobs.size(), Code::bad_input, "weight {} of {}", i, out.blobs.size());
      if (!source) runs[i] = true;
      return file.subspan(out.blobs[i].offset, out.blobs[i].size);
    };
    std::vector<Plan> plans;
    Hasher content;
    std::set<std::string> names;
    for (size_t i = 0; i < target_count; ++i) {
      const std::vector<std::byte> tables = checked_copy(file, sections[i], i);
      content.update(tables);
      plans.push_back(decode_target(tables, find, out.owner));
      require(names.insert(plans.back().target).second, Code::bad_input,
              "two sections for the target '{}'", printable(plans.back().target));
    }
    Hasher digests;
    for (const PlanFile::Blob& blob : out.blobs) digests.update(bytes_of(blob.digest));
    const Digest all = digests.digest();
    content.update(bytes_of(all));
    out.content = content.digest();
    require(out.content == Digest{header.content_high, header.content_low}, Code::bad_input,
            "the plan's content hash does not fit its sections");
    for (size_t i = 0; i < runs.size(); ++i)
      (runs[i] ? out.weight_bytes : out.source_bytes) += out.blobs[i].size;
    if (check == WeightCheck::at_load)
      for (size_t i = 0; i < runs.size(); ++i)
        if (runs[i] || out.weight_bytes + out.source_bytes <= kSmall) verify_blob(out, i);
    for (const Plan& plan : plans) validate(plan);
    out.written =
        decode_record(checked_copy(file, sections[target_count + 1], target_count + 1), plans);
    for (Plan& plan : plans) out.targets.push_back(std::make_shared<const Plan>(std::move(plan)));
    return std::move(out);
  });
}

std::shared_ptr<const Plan> PlanFile::target(std::string_view name) const {
  std::string present;
  for (const auto& plan : targets) {
    if (plan->target == name) return plan;
    present += (present.empty() ? "" : ", ") + printable(plan->target);
  }
  fail(Code::wrong_target,
       "'{}' holds plans for {}, not for {}: build it again from the model with `--target {}`",
       printable(path), present, name, name);
}

void PlanFile::verify_weights() const {
  for (size_t i = 0; i < blobs.size(); ++i) verify_blob(*this, i);
}

}  // namespace vitrail
