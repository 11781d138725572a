#pragma once
// WanPipeline: text to video with the Wan 2.1 and 2.2 models.

#include <memory>

#include "pipelines/pipeline.h"

namespace rushes {

std::unique_ptr<Blueprint> make_wan_blueprint(const ModelDir& model, NormalizeNfc normalize_nfc);

}  // namespace rushes
