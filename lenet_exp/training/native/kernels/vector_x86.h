// Operations on 8 floats and on bytes that AVX-512 and AVX2 share.
#pragma once
#include <immintrin.h>
#include <stdint.h>

namespace lenet {

struct Octet {  // 8 floats
  __m256 floats;
};

inline Octet load_octet(const float* at) { return {_mm256_loadu_ps(at)}; }
inline void store(float* at, Octet a) { _mm256_storeu_ps(at, a.floats); }
inline Octet broadcast_octet(float a) { return {_mm256_set1_ps(a)}; }
inline Octet fma(Octet a, Octet b, Octet c) { return {_mm256_fmadd_ps(a.floats, b.floats, c.floats)}; }

/// Returns 16 bits; bit i is set if at[i] == value.
inline unsigned equal_bytes(const int8_t* at, int value) {
  const __m128i found = _mm_loadu_si128(reinterpret_cast<const __m128i*>(at));
  return static_cast<unsigned>(_mm_movemask_epi8(_mm_cmpeq_epi8(found, _mm_set1_epi8(static_cast<char>(value)))));
}

}  // namespace lenet
