#pragma once
// What is asked of the Hub: the commit of a revision, the files of a commit. And the words for its refusals.
// The paths and fields are those that huggingface_hub 2.4 uses (hf_api.py: model_info, list_repo_tree).

#include <functional>
#include <nlohmann/json.hpp>
#include <string>

#include "base/error.h"
#include "weights/hub/cache.h"
#include "weights/hub/http.h"
#include "weights/hub/model_id.h"

namespace rushes::hub {

/// The Hub cannot be asked now (network, or it is overloaded); what is cached may do.
class Unreachable : public UserError {
 public:
  using UserError::UserError;
};

/// Shows those who wait for this process that it goes on, though nothing may come for a while.
using Heartbeat = std::function<void()>;

/// Counts tries of one thing and waits between them, longer each time; a server's Retry-After is obeyed.
class Retries {
 public:
  Retries(Cancel cancel, const Heartbeat& heartbeat) : cancel_(cancel), heartbeat_(heartbeat) {}
  /// Waits before another try and gives true, or false where there have been enough. `asked`: seconds that
  /// the server wants, 0 for none.
  bool wait(double asked, const std::string& why);
  /// There was headway.
  void restart() { tries_ = 0; }

 private:
  const Cancel cancel_;
  const Heartbeat& heartbeat_;
  int tries_ = 0;
};

class Api {
 public:
  Api(const Settings& settings, ModelId model, Cancel cancel, Heartbeat heartbeat = {});

  /// The commit that the model's revision is now.
  std::string commit();
  Tree tree(const std::string& commit);
  /// Where a file of a commit is.
  std::string file_url(const std::string& commit, const std::string& path) const;

  /// Is it worth another try: 408, 429, 5xx, or is_refused_link?
  static bool may_pass(const Reply& reply);
  /// The store to which the Hub redirected takes the Hub's link for none: a new link may do, once.
  static bool is_refused_link(const Reply& reply);
  /// Words for a reply that is no success: what was asked for, why not, what to do.
  UserError refusal(const Reply& reply, const std::string& what) const;

 private:
  UserError store_refusal(const Reply& reply, const std::string& what) const;
  nlohmann::json get_json(std::string url, const std::string& what, std::string& next);

  const Settings& settings_;
  const ModelId model_;
  const Cancel cancel_;
  const Heartbeat heartbeat_;
  HttpClient http_;
};

}  // namespace rushes::hub
