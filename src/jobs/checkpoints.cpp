#include "jobs/checkpoints.h"

#include "base/file.h"
#include "base/log.h"
#include "base/timer.h"
#include "base/version.h"
#include "device/torch_error.h"
#include "kernels/common/brgemm.h"
#include "weights/tensor_store.h"

namespace rushes {
namespace {

namespace fs = std::filesystem;

constexpr const char* kLatents = "latents";
constexpr const char* kHistory = "history.";

using Tensors = std::map<std::string, at::Tensor>;
using Texts = std::map<std::string, std::string>;

/// Over all that must be right: a flipped bit would make a wrong video.
std::string seal(const Tensors& tensors, const Texts& texts) {
  std::string all;
  for (const auto& [key, text] : texts)
    all += str(key, "=", text, "|");
  for (const auto& [name, tensor] : tensors) {
    const std::string_view bytes(static_cast<const char*>(tensor.const_data_ptr()), tensor.nbytes());
    all += str(name, "|", at::toString(tensor.scalar_type()), "|", join(tensor.sizes().vec(), "x"), "|",
               hash_bytes(bytes), "|");
  }
  return hash_bytes(all);
}

class ItemCheckpoint : public ClipCheckpoint {
 public:
  ItemCheckpoint(fs::path path, fs::path beside, const Item& item, CheckpointRules rules,
                 const Claims& claims, const EventLog& events)
      : path_(std::move(path)),
        beside_(std::move(beside)),
        item_(item),
        rules_(std::move(rules)),
        claims_(claims),
        events_(events) {}

  std::optional<Checkpoint> load() override {
    std::error_code error;
    if (!fs::exists(path_, error)) return std::nullopt;
    try {
      std::optional<Checkpoint> found = read();
      if (found) log_info("item ", item_.id, " goes on behind denoising step ", found->steps_done);
      return found;
    } catch (const std::exception& problem) {  // it stays: perhaps it could only not be read now
      log_warning("item ", item_.id, " begins anew, its checkpoint cannot be used: ", message_of(problem));
      return std::nullopt;
    }
  }

  bool due() const override { return rules_.seconds > 0 && since_last_.seconds() >= rules_.seconds; }

  void save(const Checkpoint& checkpoint) override {
    since_last_ = Timer();
    if (!claims_.is_mine(item_.id)) return;  // another went on with it while this process stood still
    try {
      Tensors tensors = {{kLatents, plain(checkpoint.latents)}};
      for (const auto& [name, tensor] : checkpoint.history)
        tensors.emplace(kHistory + name, plain(tensor));
      Texts texts = described();
      texts["steps_done"] = str(checkpoint.steps_done);
      texts["legs"] = legs_with(checkpoint.steps_done).dump();
      texts["seal"] = seal(tensors, texts);
      std::error_code error;
      fs::create_directories(beside_.parent_path(), error);
      write_safetensors(beside_, tensors, texts, "w");
      put_in_place(beside_, path_);
      events_.add("checkpoint_kept", {{"id", item_.id}, {"steps_done", checkpoint.steps_done}});
    } catch (const std::exception& problem) {
      if (!warned_) log_warning("item ", item_.id, ": no checkpoint can be kept: ", message_of(problem));
      warned_ = true;
      std::error_code error;
      fs::remove(beside_, error);
    }
  }

  nlohmann::json legs() const override {
    nlohmann::json earlier = nlohmann::json::array();
    for (const nlohmann::json& leg : legs_) {
      if (leg.at("owner") != claims_.token()) earlier.push_back(leg);
    }
    return earlier;
  }

 private:
  /// With this try's, where the steps are its own: what load() gave was of no use where it has fewer.
  nlohmann::json legs_with(int64_t steps_done) const {
    nlohmann::json legs = nlohmann::json::array();
    for (const nlohmann::json& leg : legs_) {
      if (leg.at("steps_done") < steps_done) legs.push_back(leg);
    }
    legs.push_back({{"run", rules_.run},
                    {"owner", claims_.token()},
                    {"layout", rules_.layout},
                    {"instructions", cpu_arithmetic()},
                    {"steps_done", steps_done},
                    {"seconds", since_begun_.seconds()}});
    return legs;
  }

  Texts described() const {
    return {{"id", item_.id},    {"request", item_.request_hash}, {"build", build_identity()},
            {"run", rules_.run}, {"layout", rules_.layout},       {"instructions", cpu_arithmetic()}};
  }

  /// Nothing where it is of another request, build or --fresh run. Throws UserError where it is damaged.
  std::optional<Checkpoint> read() {
    const TensorStore file = TensorStore::open_file(path_);
    Texts texts = file.metadata();
    Texts wanted = described();
    if (!rules_.fresh) wanted.erase("run");
    if (!rules_.same_layout) {
      wanted.erase("layout");
      wanted.erase("instructions");
    }
    for (const auto& [key, text] : wanted) {
      if (texts[key] != text) return std::nullopt;
    }
    Tensors tensors;
    for (const auto& [name, stored] : file.tensors())
      tensors.emplace(name, as_tensor(stored).clone());
    const std::string sealed = texts["seal"];
    texts.erase("seal");
    if (sealed != seal(tensors, texts)) fail(path_.string(), " is not as it was written");
    Checkpoint found;
    found.steps_done = std::stoll(texts.at("steps_done"));  // sealed: as save() wrote it
    found.latents = tensors.at(kLatents);
    legs_ = nlohmann::json::parse(texts.at("legs"));
    for (const auto& [name, tensor] : tensors) {
      if (name != kLatents) found.history.emplace(name.substr(std::string(kHistory).size()), tensor);
    }
    return found;
  }

  static at::Tensor plain(const at::Tensor& tensor) { return tensor.to(at::kCPU).contiguous(); }

  fs::path path_, beside_;
  const Item& item_;
  CheckpointRules rules_;
  const Claims& claims_;
  const EventLog& events_;
  nlohmann::json legs_ = nlohmann::json::array();
  Timer since_begun_, since_last_;
  bool warned_ = false;
};

}  // namespace

std::unique_ptr<ClipCheckpoint> Checkpoints::of(const Item& item) const {
  return std::make_unique<ItemCheckpoint>(folder_.checkpoint(item.id),
                                          work_.path(".checkpoint-" + item.id + ".safetensors"), item, rules_,
                                          claims_, events_);
}

void sweep_checkpoints(const OutputFolder& folder, const std::set<std::string>& done) {
  std::error_code error;
  for (fs::directory_iterator at(folder.checkpoint("x").parent_path(), error), end; !error && at != end;
       at.increment(error)) {
    const std::string id = at->path().stem().string();
    std::error_code ignored;
    const bool claimed = fs::exists(fs::symlink_status(folder.claims() / id, ignored));
    if (done.count(id) > 0 && !claimed) fs::remove(at->path(), ignored);
  }
}

std::map<std::string, fs::file_time_type> checkpoint_times(const OutputFolder& folder) {
  std::map<std::string, fs::file_time_type> times;
  std::error_code error;
  for (fs::directory_iterator at(folder.checkpoint("x").parent_path(), error), end; !error && at != end;
       at.increment(error)) {
    std::error_code gone;
    const fs::file_time_type time = fs::last_write_time(at->path(), gone);
    if (!gone) times.emplace(at->path().filename().string(), time);
  }
  return times;
}

void remove_checkpoint(const OutputFolder& folder, const std::string& id) {
  std::error_code ignored;
  fs::remove(folder.checkpoint(id), ignored);
}

}  // namespace rushes
