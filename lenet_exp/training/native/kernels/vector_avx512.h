// One register of 16 floats.
#pragma once
#include <immintrin.h>
#include <stdint.h>

namespace lenet::part {

constexpr int lanes = 16, registers = 32;
using Floats = __m512;
using Ints = __m512i;
using Mask = __mmask16;

inline Floats load(const float* at) { return _mm512_loadu_ps(at); }
inline void store(float* at, Floats a) { _mm512_storeu_ps(at, a); }
inline Floats broadcast(float a) { return _mm512_set1_ps(a); }
inline Floats add(Floats a, Floats b) { return _mm512_add_ps(a, b); }
inline Floats subtract(Floats a, Floats b) { return _mm512_sub_ps(a, b); }
inline Floats multiply(Floats a, Floats b) { return _mm512_mul_ps(a, b); }
inline Floats divide(Floats a, Floats b) { return _mm512_div_ps(a, b); }
inline Floats fma(Floats a, Floats b, Floats c) { return _mm512_fmadd_ps(a, b, c); }
inline Floats root(Floats a) { return _mm512_sqrt_ps(a); }
inline Floats larger(Floats a, Floats b) { return _mm512_max_ps(a, b); }  // b if a or b is NaN
inline Floats smaller(Floats a, Floats b) { return _mm512_min_ps(a, b); }
inline Floats nearest(Floats a) { return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
inline Mask greater(Floats a, Floats b) { return _mm512_cmp_ps_mask(a, b, _CMP_GT_OQ); }
inline Mask at_most(Floats a, Floats b) { return _mm512_cmp_ps_mask(a, b, _CMP_LE_OQ); }
inline Mask not_a_number(Floats a) { return _mm512_cmp_ps_mask(a, a, _CMP_UNORD_Q); }
inline Mask either(Mask a, Mask b) { return static_cast<Mask>(a | b); }
inline Floats select(Mask where, Floats a, Floats b) { return _mm512_mask_blend_ps(where, b, a); }

inline Ints broadcast(int32_t a) { return _mm512_set1_epi32(a); }
inline Ints load(const int32_t* at) { return _mm512_loadu_si512(at); }
inline void store(int32_t* at, Ints a) { _mm512_storeu_si512(at, a); }
inline Ints select(Mask where, Ints a, Ints b) { return _mm512_mask_blend_epi32(where, b, a); }
inline Ints add(Ints a, Ints b) { return _mm512_add_epi32(a, b); }
inline Ints exclusive_or(Ints a, Ints b) { return _mm512_xor_si512(a, b); }
template <int by> inline Ints shift_left(Ints a) { return _mm512_slli_epi32(a, by); }
template <int by> inline Ints shift_right(Ints a) { return _mm512_srli_epi32(a, by); }
template <int by> inline Ints rotate(Ints a) { return _mm512_rol_epi32(a, by); }
inline Ints to_ints(Floats a) { return _mm512_cvtps_epi32(a); }
inline Floats to_floats(Ints a) { return _mm512_cvtepi32_ps(a); }
inline Ints bits_of(Floats a) { return _mm512_castps_si512(a); }
inline Floats from_bits(Ints a) { return _mm512_castsi512_ps(a); }

inline Floats gather(const float* from, Ints at) { return _mm512_i32gather_ps(at, from, 4); }

inline void store_bytes(int8_t* at, const Ints (&a)[1]) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(at), _mm512_cvtepi32_epi8(a[0]));
}

inline void load_alternate(const float* at, Floats (&even)[1], Floats (&odd)[1]) {
  const Ints evens = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
  const Ints odds = _mm512_setr_epi32(1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
  const Floats a = load(at), b = load(at + 16);
  even[0] = _mm512_permutex2var_ps(a, evens, b);
  odd[0] = _mm512_permutex2var_ps(a, odds, b);
}

}  // namespace lenet::part
