// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "base/file.h"

namespace vitrail {

inline constexpr const char* kUnknownKind = "an unknown kind of file";

/// What a file looks like by its first bytes, for messages about files of the wrong kind: "a JPEG
/// picture", "an HTML page", "a Git LFS pointer (fetch the file itself with 'git lfs pull')".
/// kUnknownKind when nothing fits.
const char* content_kind(Bytes bytes);

}  // namespace vitrail
