// Item records. One that is taken is written and read again unchanged.

#include "fuzz.h"
#include "jobs/record.h"

using namespace rushes;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  ItemRecord record;
  if (!fuzz::accepted([&] { record = record_from(fuzz::text_of(data, size), "x.json"); })) return 0;
  const std::string text = to_text(record);
  ItemRecord again;
  fuzz::hold(fuzz::accepted([&] { again = record_from(text, "x.json"); }), "a written record is read");
  fuzz::hold(again.done == record.done && again.id == record.id && again.request == record.request &&
                 again.request_hash == record.request_hash && again.run == record.run &&
                 again.attempts == record.attempts && again.error == record.error &&
                 again.files.size() == record.files.size() && again.more == record.more,
             "a record survives being written");
  fuzz::hold(to_text(again) == text, "a record is written the same again");
  return 0;
}
