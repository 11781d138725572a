#pragma once
// Memory of large CPU tensors is kept when they are freed and given to the next ones that fit, since the
// system takes longer to hand out fresh pages than many an operation takes (a fifth of a VAE's decoding).

#include <cstdint>

namespace rushes {

/// From now on, for the life of the process: blocks of 1 MiB and more are kept. What is kept and what is in
/// use together never exceed the most that was in use at once by more than a quarter. Memory
/// that is kept and not soon wanted again is marked as the first to be taken where memory runs short
/// (MADV_FREE). Calling it again does nothing.
void keep_cpu_memory();

/// Gives what is kept, and what malloc has free, back to the system, and begins anew to count the most that
/// is in use.
void forget_kept_memory();

/// Bytes that freed tensors left behind and no tensor uses now.
int64_t kept_cpu_memory();

/// Blocks that were asked of the system so far, for want of a kept one that fits.
int64_t fresh_cpu_blocks();

}  // namespace rushes
