#pragma once
// rushes doctor: what this machine offers, and what Rushes would make of it.

namespace rushes {

/// argv[0] is "doctor". Returns 0.
int doctor_command(int argc, char** argv);

}  // namespace rushes
