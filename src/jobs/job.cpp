#include "jobs/job.h"

#include <algorithm>
#include <unordered_set>

#include "base/version.h"
#include "config/yaml/yaml.h"
#include "dist/parallel_plan.h"
#include "jobs/items.h"
#include "jobs/presets.h"
#include "jobs/regress.h"
#include "jobs/resolution.h"
#include "jobs/sites.h"
#include "models/tokenizers/icu/nfc.h"
#include "planner/planner.h"
#include "weights/hub/pull.h"

namespace rushes {
namespace {

constexpr size_t kMostProblems = 300;
// The name of a job without a file, in messages.
const std::string kCommandLine = "command line";
// Sampling keys that the job itself reads, whatever the pipeline.
const std::vector<std::string> kJobSamplingKeys = {"fps", "seed", "samples"};

/// What --set gives: lists, mappings, quoted texts and whole documents as YAML; everything else as it stands,
/// since a '#' or ': ' in a prompt is no comment and no mapping.
Value set_value(const std::string& text, const std::string& where) {
  const size_t first = text.find_first_not_of(' ');
  const bool yaml =
      text.find('\n') != std::string::npos || text.starts_with("- ") ||
      (first != std::string::npos && std::string("[{\"'").find(text[first]) != std::string::npos);
  if (yaml) return parse_yaml(text, where);
  check_utf8(text, where);
  return plain_scalar(text, 0);
}

void add_all(const UserError& error, Problems& problems) {
  for (const std::string& problem : error.problems())
    problems.add(problem);
}

/// The job file, --set documents and preset, each as it was read, and what they make together.
class JobLoader {
 public:
  JobLoader(const std::filesystem::path& file, const JobOverrides& overrides)
      : file_(file), name_(file.empty() ? kCommandLine : file.string()), overrides_(overrides) {}

  ResolvedJob load();
  /// The job's model, fetched; nothing where it is a folder or the job has mistakes.
  std::optional<hub::Pulled> fetch_model();

 private:
  void read_documents();
  void read_set(Problems& problems);
  void check_settings();
  void check_parallel();
  bool model_is_folder() const;
  hub::Pulled pull_model() const;
  std::filesystem::path find_model();
  void open_model();
  void apply_layers();
  void apply_site(const std::string& name);
  void check_sampling_keys();
  void prepare_preprocessing();
  void make_items();
  void check_guidance();
  void describe();
  void check_output_of_model();
  void check_output_of_videos();
  void check_references();
  void throw_what_is_wrong() const;

  std::string source(const std::string& key) const {
    const auto found = sources_.find(key);
    return found == sources_.end() ? name_ : found->second;
  }

  const std::filesystem::path file_;
  const std::string name_;
  const JobOverrides& overrides_;
  Problems problems_;
  Value document_;
  std::vector<Value> set_;
  size_t set_of_file_ = 0;  // of set_, how many are the file's own `override`
  std::optional<Preset> preset_;
  JobFile job_;  // defaults < preset < job < --set
  std::map<std::string, std::string> sources_;
  ResolvedJob result_;
};

void JobLoader::read_documents() {
  if (file_.empty()) {
    document_.kind = Value::Kind::mapping;
  } else {
    document_ = read_yaml(file_);
  }
  if (document_.kind == Value::Kind::nothing) fail(name_, ": is empty; it needs model, prompts and output");
  if (const Entry* stronger = document_.find("override")) {
    set_.push_back(nested("sampling", stronger->value));
    set_of_file_ = 1;
  }
  for (const auto& [key, text] : overrides_.set) {
    if (key == "override" || key.starts_with("override.")) {
      problems_.add("--set ", shortened(key, 60), ": is what --set does anyway: give sampling.KEY");
      continue;
    }
    try {
      set_.push_back(nested(key, set_value(text, "--set " + shortened(key, 60))));
    } catch (const UserError& error) {
      add_all(error, problems_);
    }
  }
  Reading file(name_, problems_, sources_);
  read_job(document_, job_, file);
  read_set(problems_);
}

/// The layers above the prompts' own lines: the file's `override` (checked with the file), then --set.
void JobLoader::read_set(Problems& problems) {
  Problems known;
  Reading file(name_, known, sources_), set(file_.empty() ? kCommandLine : "--set", problems, sources_);
  for (size_t i = 0; i < set_.size(); ++i)
    read_job(set_[i], job_, i < set_of_file_ ? file : set);
}

void JobLoader::check_settings() {
  const auto word = [&](const char* key) {
    return find_field(job_fields(), key)->get(job_).get<std::string>();
  };
  if (job_.kind == JobKind::train)
    problems_.add(source("job"), ": job: ", word("job"),
                  " is not there yet; this version does generate, regress, preprocess");
  if (job_.numerics != Numerics::diffusers)
    problems_.add(source("numerics"), ": numerics: ", word("numerics"),
                  " is not there yet; this version does diffusers");
  check_parallel();
  if (job_.model.empty()) problems_.add(source("model"), ": model: missing; give a model folder");
  if (job_.output.empty())
    problems_.add(source("output"), ": output: missing; give a folder for the results");
  if (job_.prompts.kind == Value::Kind::nothing && !document_.find("prompts"))
    problems_.add(name_, ": prompts: missing; give a file of prompts or a list");
}

/// At the place of the first factor that was set.
void JobLoader::check_parallel() {
  if (overrides_.ranks == 0) return;
  std::string where = name_;
  for (const std::string& key : field_keys(parallel_fields())) {
    if (const auto set = sources_.find("parallel." + key); set != sources_.end()) {
      where = set->second;
      break;
    }
  }
  try {
    if (overrides_.any_layout) {
      Problems wrong;
      rushes::check_parallel(job_.parallel, overrides_.ranks, /*guided=*/true, wrong);
      return wrong.throw_if_any();
    }
    ParallelPlan::make(job_.parallel, overrides_.ranks);
  } catch (const UserError& error) {
    for (const std::string& problem : error.problems())
      problems_.add(where, ": ", problem);
  }
}

bool JobLoader::model_is_folder() const {
  std::error_code error;
  return std::filesystem::is_directory(job_.model, error);
}

hub::Pulled JobLoader::pull_model() const {
  hub::ModelId model = hub::parse_model_id(job_.model);
  if (!overrides_.model_commit.empty()) model.revision = overrides_.model_commit;
  return hub::pull(model, hub::settings_from_env(), {overrides_.stop, overrides_.quiet});
}

/// The model's folder, or "" where that is noted (or there are other mistakes, and nothing is fetched yet).
std::filesystem::path JobLoader::find_model() {
  if (model_is_folder()) return job_.model;
  if (!hub::looks_like_model_id(job_.model)) {
    problems_.add(
        source("model"), ": model: no folder '", shortened(job_.model, 200),
        "' here; give the folder of a model (Diffusers layout), or org/name of the Hugging Face Hub");
    return {};
  }
  std::vector<std::string> wrong = overrides_.model_problems;
  if (wrong.empty()) {
    if (!problems_.empty()) return {};
    try {
      const hub::Pulled pulled = pull_model();
      result_.job.weights_revision = pulled.pinned();
      return pulled.folder;
    } catch (const UserError& error) {
      wrong = error.problems();
    }
  }
  for (const std::string& problem : wrong)
    problems_.add(source("model"), ": model: no folder '", job_.model, "' here, and on the Hub: ", problem);
  return {};
}

std::optional<hub::Pulled> JobLoader::fetch_model() {
  read_documents();
  check_settings();
  if (!problems_.empty() || model_is_folder() || !hub::looks_like_model_id(job_.model)) return {};
  return pull_model();
}

void JobLoader::open_model() {
  if (job_.model.empty()) return;
  const std::filesystem::path folder = find_model();
  if (folder.empty()) return;
  try {
    const auto model = std::make_shared<const ModelDir>(ModelDir::open(folder));
    result_.model = model;
    preset_ = find_preset(configs_folder(), *model, problems_);
    result_.blueprint = make_blueprint(*model, normalize_nfc);
  } catch (const UserError& error) {
    add_all(error, problems_);
  }
}

/// With the model known the preset can go below the job: reads everything again in order, problems are known.
void JobLoader::apply_layers() {
  const std::string site = job_.cluster.site;
  job_ = JobFile();
  sources_.clear();
  Problems known;
  if (overrides_.submission) apply_site(site);
  if (preset_) {
    Reading preset(preset_->file, problems_, sources_);
    read_fields(sampling_fields(), job_.sampling, preset_->sampling, "sampling.", preset);
  }
  Reading file(name_, known, sources_);
  read_job(document_, job_, file);
  read_set(known);
}

/// What the cluster's jobs usually ask for goes below the job's own wishes.
void JobLoader::apply_site(const std::string& name) {
  try {
    const Site site = read_site(name);
    Reading reading(site.file, problems_, sources_);
    read_fields(cluster_fields(), job_.cluster, site.values, "cluster.", reading);
  } catch (const UserError& error) {
    add_all(error, problems_);
  }
}

std::vector<std::string> readable_keys(const Blueprint* blueprint, JobKind kind) {
  if (kind == JobKind::preprocess) return {"fps", "height", "width", "num_frames", "max_sequence_length"};
  std::vector<std::string> keys = kJobSamplingKeys;
  const std::vector<std::string> all = field_keys(sampling_fields());
  const std::vector<std::string>& read = blueprint ? blueprint->sampling_keys() : all;
  for (const std::string& key : read) {
    if (std::find(keys.begin(), keys.end(), key) == keys.end()) keys.push_back(key);
  }
  return keys;
}

/// A key of the job or --set that no stage reads. (A preset may name more than one pipeline needs.)
void JobLoader::check_sampling_keys() {
  if (!result_.blueprint) return;  // there are other problems, which come first
  const std::vector<std::string> keys = readable_keys(result_.blueprint.get(), job_.kind);
  for (const std::string& key : field_keys(sampling_fields())) {
    const auto found = sources_.find("sampling." + key);
    if (found == sources_.end() || std::find(keys.begin(), keys.end(), key) != keys.end()) continue;
    if (preset_ && found->second.starts_with(preset_->file)) continue;
    problems_.add(found->second, ": sampling.", key, ": no stage of ", result_.blueprint->pipeline_class(),
                  " reads this key; remove it");
  }
}

/// Videos are encoded, one a rank at a time, and nothing is sampled.
void JobLoader::prepare_preprocessing() {
  if (sources_.count("save") == 0) job_.save = {"hdf5"};
  job_.sampling.guidance_scale = 1;
  Parallel& layout = job_.parallel;
  for (const auto& [key, ranks] :
       {std::pair("cfg", &layout.cfg), std::pair("sp", &layout.sp), std::pair("ring", &layout.ring),
        std::pair("dit_tp", &layout.dit_tp), std::pair("tp", &layout.tp), std::pair("vae", &layout.vae)}) {
    if (ranks->value_or(1) > 1) {
      problems_.add(source(str("parallel.", key)), ": parallel.", key,
                    ": job: preprocess has one rank a video; ",
                    "leave it out, more ranks encode more videos at once");
    }
    *ranks = 1;
  }
}

void JobLoader::make_items() {
  if (job_.prompts.kind == Value::Kind::nothing) return;
  PromptRules rules;
  rules.sampling_keys = readable_keys(result_.blueprint.get(), job_.kind);
  rules.videos = job_.kind == JobKind::preprocess;
  if (result_.blueprint) rules.pipeline = result_.blueprint->pipeline_class();
  const std::string document = job_.prompts.line > 0 ? name_ : "--set prompts";
  const std::vector<PromptRow> rows = read_prompts(job_.prompts, document, rules, problems_);
  const std::vector<ItemDraft> drafts = draft_items(rows, job_.sampling, set_, problems_);
  if (!result_.blueprint) return;
  try {
    // Reading the model for its fingerprint is for nothing where the job can't start.
    const std::string fingerprint = problems_.empty() ? result_.model->fingerprint() : std::string();
    result_.facts = request_facts(job_, result_.options, fingerprint);
    // A night's clips are those of the night's build.
    if (job_.kind == JobKind::regress) result_.facts.build = build_identity();
    const ItemContext context{
        *result_.blueprint, result_.options, result_.facts, makes_video(job_.save, job_.dataset),
        sources_,           name_,           set_};
    result_.items = rushes::make_items(drafts, context, problems_);
  } catch (const UserError& error) {
    add_all(error, problems_);
  }
}

/// Without guidance there is nothing for the second half of a replica to do.
void JobLoader::check_guidance() {
  if (job_.parallel.cfg.value_or(1) < 2) return;
  int64_t without = 0;
  const Item* first = nullptr;
  for (const Item& item : result_.items) {
    if (item.sampling.guidance_scale > 1) continue;
    if (without++ == 0) first = &item;
  }
  if (without == 0) return;
  problems_.add(source("parallel.cfg"), ": parallel.cfg: half of the ranks would idle: item '", first->id,
                "' has guidance_scale ", first->sampling.guidance_scale,
                without > 1 ? str(" (and ", without - 1, " more have 1 or less)") : std::string(),
                "; leave cfg out, or raise guidance_scale above 1");
}

/// Fills Job: the settings in their final form, with sources, and as YAML.
void JobLoader::describe() {
  Job& job = result_.job;
  const std::string date = overrides_.date.empty() ? today() : overrides_.date;
  job.kind = job_.kind;
  job.model = job_.model;
  job.output = fill_output(job_, file_, date, source("output"), problems_) + overrides_.output_suffix;
  job.save = job_.save;
  job.video = job_.video;
  job.sampling = job_.sampling;
  job.parallel = job_.parallel;
  job.precision = job_.precision;
  job.attention = result_.options.attention;
  job.device = job_.device;
  job.numerics = job_.numerics;
  job.regression = job_.regression;
  job.dataset = job_.dataset;
  job.cluster = job_.cluster;
  job.sources = sources_;
  job.vae_tiling = job_.vae_tiling;
  job.retries = job_.retries;
  job.checkpoint_seconds = job_.checkpoint_seconds;
  job.metrics = job_.metrics;
  job.reject = job_.reject;
  JobFile resolved = with_options(job_, result_.options);
  resolved.output = job.output;
  if (!job.weights_revision.empty()) resolved.model = job.weights_revision;
  job.settings = setting_rows(job_, resolved, sources_);
  // Keys that nothing reads would be mistakes in a job file.
  const std::vector<std::string> read = readable_keys(result_.blueprint.get(), job_.kind);
  std::erase_if(job.settings, [&](const SettingRow& row) {
    if (row.key.starts_with("cluster.")) return !overrides_.submission;
    return row.key.starts_with("sampling.") &&
           std::find(read.begin(), read.end(), row.key.substr(sizeof "sampling." - 1)) == read.end();
  });
  std::vector<SettingRow> rows = job.settings;
  const std::vector<SettingRow> above = override_rows(job.settings, set_, own_keys_of(result_.items));
  rows.insert(rows.end(), above.begin(), above.end());
  job.resolved_yaml = rows_to_yaml(rows, "Resolved by rushes " + version_text() + "; can be run as it is.");
  if (job.sampling.guidance_scale <= 1 && !job.sampling.negative_prompt.empty()) {
    result_.warnings.push_back(source("sampling.negative_prompt") +
                               ": sampling.negative_prompt has no effect: guidance_scale is 1 or less");
  }
}

bool is_inside(const std::filesystem::path& outer, const std::filesystem::path& path) {
  return std::mismatch(outer.begin(), outer.end(), path.begin(), path.end()).first == outer.end();
}

/// A model's folder is read alone, and may be shared.
void JobLoader::check_output_of_model() {
  if (!model_is_folder()) return;
  std::error_code error;
  const auto model = std::filesystem::canonical(job_.model, error);
  if (is_inside(model, std::filesystem::weakly_canonical(result_.job.output, error)))
    problems_.add(source("output"), ": output: ", result_.job.output, " lies in the folder of the model, ",
                  job_.model, "; give one beside it");
}

/// Outputs replace what bears their names: no video may lie where they go. (And the next run would take this
/// run's videos for new ones.)
void JobLoader::check_output_of_videos() {
  if (job_.kind != JobKind::preprocess) return;
  std::error_code error;
  const auto output = std::filesystem::weakly_canonical(result_.job.output, error);
  if (job_.prompts.kind != Value::Kind::list && std::filesystem::is_directory(job_.prompts.text, error) &&
      is_inside(std::filesystem::weakly_canonical(job_.prompts.text, error), output)) {
    problems_.add(source("output"), ": output: ", result_.job.output, " lies in the folder of the videos, ",
                  job_.prompts.text, "; give one beside it");
    return;
  }
  std::map<std::string, bool> within;  // by the videos' folders, since there are few
  for (const Item& item : result_.items) {
    const std::filesystem::path video = item.video;
    const auto [known, is_new] = within.emplace(video.parent_path().string(), false);
    if (is_new) {
      const auto folder = video.parent_path().empty() ? std::filesystem::path(".") : video.parent_path();
      known->second = is_inside(output, std::filesystem::weakly_canonical(folder, error));
    }
    const bool link = std::filesystem::is_symlink(std::filesystem::symlink_status(video, error));
    if (!known->second && !(link && is_inside(output, std::filesystem::weakly_canonical(video, error))))
      continue;
    problems_.add(source("output"), ": output: ", result_.job.output, " holds the video ", item.video,
                  ", which an output may replace; give another folder");
    return;
  }
}

/// What a regress job is to be compared with must be there before anything is made.
void JobLoader::check_references() {
  Problems found;
  rushes::check_references(result_, found);
  for (const std::string& problem : found.list())
    problems_.add(source("regression.references"), ": ", problem);
}

/// Each problem once (two components may share a file), and not a million of them.
void JobLoader::throw_what_is_wrong() const {
  Problems once;
  std::unordered_set<std::string> told;
  for (const std::string& problem : problems_.list())
    if (told.insert(problem).second && told.size() <= kMostProblems) once.add(problem);
  if (told.size() > kMostProblems) once.add(name_, ": and ", told.size() - kMostProblems, " problems more");
  once.throw_if_any();
}

ResolvedJob JobLoader::load() {
  read_documents();
  check_settings();
  open_model();
  apply_layers();
  check_sampling_keys();
  if (job_.kind == JobKind::preprocess) prepare_preprocessing();
  if (overrides_.submission && job_.cluster.gpus_per_node > 0 && job_.device == DeviceKind::automatic)
    job_.device = DeviceKind::cuda;
  const bool elsewhere = overrides_.device_elsewhere || overrides_.submission;
  result_.options = resolve_options(job_, elsewhere, source("device"), problems_);
  make_items();
  check_guidance();
  describe();
  if (!job_.output.empty()) check_output_of_model();
  check_output_of_videos();
  if (overrides_.noise_rerun && job_.kind != JobKind::regress)
    problems_.add(source("job"), ": --noise-floor goes with job: regress");
  const auto saves = [&](const char* kind) {
    return std::find(job_.save.begin(), job_.save.end(), kind) != job_.save.end();
  };
  if (job_.kind == JobKind::regress && !saves("video") && !saves("frames"))
    problems_.add(source("save"), ": save: job: regress compares pictures: it needs video or frames");
  if (job_.kind == JobKind::regress && problems_.empty() && !overrides_.noise_rerun) check_references();
  throw_what_is_wrong();
  return std::move(result_);
}

}  // namespace

void fetch_job_model(const std::filesystem::path& file, JobOverrides& overrides) {
  try {
    if (const auto pulled = JobLoader(file, overrides).fetch_model()) overrides.model_commit = pulled->commit;
  } catch (const UserError& error) {
    overrides.model_problems = error.problems();
  }
}

ResolvedJob load_job(const std::filesystem::path& file, const JobOverrides& overrides) {
  return JobLoader(file, overrides).load();
}

}  // namespace rushes
