#pragma once
// What a video says of itself: where it comes from, for whoever meets the file alone.

#include <string>

#include "jobs/job.h"
#include "media/ffmpeg/video.h"

namespace rushes {

/// The tags of the clip's mp4: `title` is the prompt's beginning in one line (some 120 bytes), `comment` one
/// line of JSON:
///
///   prompt        the text, with `prompt_bytes`, its length, where only its first 16 KiB and "..." are here
///   seed
///   model         "org/name" of the Hub, else the pipeline's class ("WanPipeline")
///   revision      the commit, else the fingerprint of the folder's weights (the item record's `weights`)
///   request_hash  that of job: generate; a night's request covers its build as well, which is left out here
///   version       "rushes 0.1.0"
///
/// No time, path, layout, host or commit of the build: the same request makes the same bytes with any build
/// of a release. Nothing for job: preprocess, whose videos are real: neither seed nor model made them.
VideoTags provenance_tags(const ResolvedJob& job, const Item& item);

}  // namespace rushes
