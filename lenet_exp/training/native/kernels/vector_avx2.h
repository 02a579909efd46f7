// Two registers of 8 floats.
#pragma once
#include <immintrin.h>
#include <stdint.h>

namespace lenet::part {

constexpr int lanes = 8, registers = 16;
using Floats = __m256;
using Ints = __m256i;
struct Mask {
  __m256 where;
};

inline Floats load(const float* at) { return _mm256_loadu_ps(at); }
inline void store(float* at, Floats a) { _mm256_storeu_ps(at, a); }
inline Floats broadcast(float a) { return _mm256_set1_ps(a); }
inline Floats add(Floats a, Floats b) { return _mm256_add_ps(a, b); }
inline Floats subtract(Floats a, Floats b) { return _mm256_sub_ps(a, b); }
inline Floats multiply(Floats a, Floats b) { return _mm256_mul_ps(a, b); }
inline Floats divide(Floats a, Floats b) { return _mm256_div_ps(a, b); }
inline Floats fma(Floats a, Floats b, Floats c) { return _mm256_fmadd_ps(a, b, c); }
inline Floats root(Floats a) { return _mm256_sqrt_ps(a); }
inline Floats larger(Floats a, Floats b) { return _mm256_max_ps(a, b); }  // b if a or b is NaN
inline Floats smaller(Floats a, Floats b) { return _mm256_min_ps(a, b); }
inline Floats nearest(Floats a) { return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
inline Mask greater(Floats a, Floats b) { return {_mm256_cmp_ps(a, b, _CMP_GT_OQ)}; }
inline Mask at_most(Floats a, Floats b) { return {_mm256_cmp_ps(a, b, _CMP_LE_OQ)}; }
inline Mask not_a_number(Floats a) { return {_mm256_cmp_ps(a, a, _CMP_UNORD_Q)}; }
inline Mask either(Mask a, Mask b) { return {_mm256_or_ps(a.where, b.where)}; }
inline Floats select(Mask where, Floats a, Floats b) { return _mm256_blendv_ps(b, a, where.where); }

inline Ints broadcast(int32_t a) { return _mm256_set1_epi32(a); }
inline Ints load(const int32_t* at) { return _mm256_loadu_si256(reinterpret_cast<const Ints*>(at)); }
inline void store(int32_t* at, Ints a) { _mm256_storeu_si256(reinterpret_cast<Ints*>(at), a); }
inline Ints select(Mask where, Ints a, Ints b) { return _mm256_blendv_epi8(b, a, _mm256_castps_si256(where.where)); }
inline Ints add(Ints a, Ints b) { return _mm256_add_epi32(a, b); }
inline Ints exclusive_or(Ints a, Ints b) { return _mm256_xor_si256(a, b); }
template <int by> inline Ints shift_left(Ints a) { return _mm256_slli_epi32(a, by); }
template <int by> inline Ints shift_right(Ints a) { return _mm256_srli_epi32(a, by); }
template <int by> inline Ints rotate(Ints a) { return _mm256_or_si256(shift_left<by>(a), shift_right<32 - by>(a)); }
inline Ints to_ints(Floats a) { return _mm256_cvtps_epi32(a); }
inline Floats to_floats(Ints a) { return _mm256_cvtepi32_ps(a); }
inline Ints bits_of(Floats a) { return _mm256_castps_si256(a); }
inline Floats from_bits(Ints a) { return _mm256_castsi256_ps(a); }

inline Floats gather(const float* from, Ints at) { return _mm256_i32gather_ps(from, at, 4); }

inline void store_bytes(int8_t* at, const Ints (&a)[2]) {
  const Ints halves = _mm256_permute4x64_epi64(_mm256_packs_epi32(a[0], a[1]), 0xD8);
  const __m128i bytes = _mm_packs_epi16(_mm256_castsi256_si128(halves), _mm256_extracti128_si256(halves, 1));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(at), bytes);
}

template <int which> inline Floats alternate(const float* at) {
  const Floats pairs = _mm256_shuffle_ps(load(at), load(at + 8), which ? 0xDD : 0x88);
  return _mm256_castpd_ps(_mm256_permute4x64_pd(_mm256_castps_pd(pairs), 0xD8));
}

inline void load_alternate(const float* at, Floats (&even)[2], Floats (&odd)[2]) {
  for (int i = 0; i < 2; ++i) {
    even[i] = alternate<0>(at + 16 * i);
    odd[i] = alternate<1>(at + 16 * i);
  }
}

}  // namespace lenet::part
