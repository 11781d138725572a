// A folder of references from elsewhere: a clip's pointer, a model's threshold, the history of comparisons.

#include "fuzz.h"
#include "regression/history.h"
#include "regression/references.h"

using namespace rushes;

/// The three files, apart by NUL.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const fuzz::Scratch scratch;
  const std::vector<std::string> files = fuzz::files_in(fuzz::text_of(data, size), 3);
  const ReferenceKey key{"m", "cpu", "float32", "flash"};
  const std::string clips = key.folder() + "/clips";
  std::filesystem::create_directories(scratch.path() / clips);
  scratch.write(clips + "/a.json", files[0]);
  scratch.write("m/model.json", files[1]);
  scratch.write("history.jsonl", files[2]);

  const ReferenceStore store(scratch.path());
  fuzz::hold(store.ids(key) == std::vector<std::string>{"a"}, "the reference is listed");
  fuzz::accepted([&] {
    const auto found = store.find(key, "a");
    fuzz::hold(found.has_value(), "a reference that is there is found");
    for (const ClipFile& file : found->clip.files) {
      const auto path = (found->clip.root / file.path).lexically_normal();
      fuzz::hold(path.string().starts_with(scratch.path().string()), "its files lie below the folder",
                 file.path);
    }
  });
  fuzz::accepted([&] {
    const auto least = store.model_min_ssim("m");
    fuzz::hold(!least || (*least >= 0 && *least <= 1), "a threshold is an SSIM");
  });
  fuzz::accepted([&] {
    for (const Night& night : read_history(store, 10))
      static_cast<void>(night.worst({key.folder() + "/a"}));
  });
  return 0;
}
