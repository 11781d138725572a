// The one list of pipelines: _class_name of model_index.json -> its blueprint.
#include "base/nearest.h"
#include "base/quote.h"
#include "pipelines/wan.h"

namespace rushes {

std::unique_ptr<Blueprint> make_blueprint(const ModelDir& model, NormalizeNfc normalize_nfc) {
  if (model.pipeline_class() == "WanPipeline") return make_wan_blueprint(model, std::move(normalize_nfc));
  const std::vector<std::string> known = {"WanPipeline"};
  fail(model.path().string(), "/model_index.json: _class_name: ", quote_name(model.pipeline_class()),
       " is no pipeline that this version can run (it can run ", join(known, ", "), ")",
       did_you_mean(model.pipeline_class(), known));
}

}  // namespace rushes
