// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "zoo/image/image.h"

namespace vitrail::image {

/// What the format's library says of a picture, before orientation.
struct Decoded {
  Image picture;
  std::string exif;  ///< the TIFF structure, without the "Exif\0\0" of JPEG
};
Decoded decode_jpeg(Bytes file, const std::string& name);
Decoded decode_png(Bytes file, const std::string& name);

/// EXIF orientation 1 to 8 (CIPA DC-008, tag 0x0112); 1 when the structure is absent or damaged.
int exif_orientation(const std::string& tiff);
/// The picture as it is meant to be seen.
Image apply_orientation(Image picture, int orientation);

}  // namespace vitrail::image
