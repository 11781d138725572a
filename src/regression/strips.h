#pragma once
// Pictures for the report: a clip's frames beside its reference's, small enough for one page.

#include "media/metrics.h"
#include "regression/comparison.h"

namespace rushes {

/// Up to six frames, the first, the last and the worst among them (three where the clips are equal), shrunk
/// by whole factors to about 240 pixels. The clips have the same size.
Strips make_strips(const Frames& reference, const Frames& output, const ClipMetrics& metrics);

}  // namespace rushes
