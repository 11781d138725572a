#pragma once
// 16 bytes of numbers at a time, and float32 in between. For .cu files only.

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>

namespace rushes {

__device__ __forceinline__ float to_float(float value) {
  return value;
}
__device__ __forceinline__ float to_float(__nv_bfloat16 value) {
  return __bfloat162float(value);
}
__device__ __forceinline__ float to_float(__half value) {
  return __half2float(value);
}

// Rounds to nearest, ties to even.
template <class T>
__device__ __forceinline__ T from_float(float value);
template <>
__device__ __forceinline__ float from_float<float>(float value) {
  return value;
}
template <>
__device__ __forceinline__ __nv_bfloat16 from_float<__nv_bfloat16>(float value) {
  return __float2bfloat16_rn(value);
}
template <>
__device__ __forceinline__ __half from_float<__half>(float value) {
  return __float2half_rn(value);
}

// kCount numbers that one load or store moves where they fill 4, 8 or 16 bytes.
template <class T, int kCount>
struct alignas(sizeof(T) * kCount > 16 ? 16 : sizeof(T) * kCount) Pack {
  T at[kCount];
};

template <class T, int kCount>
__device__ __forceinline__ Pack<T, kCount> load_pack(const T* from) {
  return *reinterpret_cast<const Pack<T, kCount>*>(from);
}
template <class T, int kCount>
__device__ __forceinline__ void store_pack(T* to, const Pack<T, kCount>& pack) {
  *reinterpret_cast<Pack<T, kCount>*>(to) = pack;
}

// Host: can `pointer` and every multiple of `stride` elements from it be read `bytes` at a time?
template <class T>
inline bool aligned(const T* pointer, int64_t stride, int bytes) {
  return reinterpret_cast<uintptr_t>(pointer) % bytes == 0 &&
         stride * static_cast<int64_t>(sizeof(T)) % bytes == 0;
}

}  // namespace rushes
