// Four registers of 4 floats.
#pragma once
#include <arm_neon.h>
#include <stdint.h>

namespace lenet::part {

constexpr int lanes = 4, registers = 32;
using Floats = float32x4_t;
using Ints = int32x4_t;
struct Mask {
  uint32x4_t where;
};

inline Floats load(const float* at) { return vld1q_f32(at); }
inline void store(float* at, Floats a) { vst1q_f32(at, a); }
inline Floats broadcast(float a) { return vdupq_n_f32(a); }
inline Floats add(Floats a, Floats b) { return vaddq_f32(a, b); }
inline Floats subtract(Floats a, Floats b) { return vsubq_f32(a, b); }
inline Floats multiply(Floats a, Floats b) { return vmulq_f32(a, b); }
inline Floats divide(Floats a, Floats b) { return vdivq_f32(a, b); }
inline Floats fma(Floats a, Floats b, Floats c) { return vfmaq_f32(c, a, b); }
inline Floats root(Floats a) { return vsqrtq_f32(a); }
inline Floats larger(Floats a, Floats b) { return vmaxq_f32(a, b); }
inline Floats smaller(Floats a, Floats b) { return vminq_f32(a, b); }
inline Floats nearest(Floats a) { return vrndnq_f32(a); }
inline Mask greater(Floats a, Floats b) { return {vcgtq_f32(a, b)}; }
inline Mask at_most(Floats a, Floats b) { return {vcleq_f32(a, b)}; }
inline Mask not_a_number(Floats a) { return {vmvnq_u32(vceqq_f32(a, a))}; }
inline Mask either(Mask a, Mask b) { return {vorrq_u32(a.where, b.where)}; }
inline Floats select(Mask where, Floats a, Floats b) { return vbslq_f32(where.where, a, b); }

inline Ints broadcast(int32_t a) { return vdupq_n_s32(a); }
inline Ints load(const int32_t* at) { return vld1q_s32(at); }
inline void store(int32_t* at, Ints a) { vst1q_s32(at, a); }
inline Ints select(Mask where, Ints a, Ints b) { return vbslq_s32(where.where, a, b); }
inline Ints add(Ints a, Ints b) { return vaddq_s32(a, b); }
inline Ints exclusive_or(Ints a, Ints b) { return veorq_s32(a, b); }
template <int by> inline Ints shift_left(Ints a) { return vshlq_n_s32(a, by); }
template <int by> inline Ints shift_right(Ints a) {
  return vreinterpretq_s32_u32(vshrq_n_u32(vreinterpretq_u32_s32(a), by));
}
template <int by> inline Ints rotate(Ints a) { return vorrq_s32(shift_left<by>(a), shift_right<32 - by>(a)); }
inline Ints to_ints(Floats a) { return vcvtnq_s32_f32(a); }
inline Floats to_floats(Ints a) { return vcvtq_f32_s32(a); }
inline Ints bits_of(Floats a) { return vreinterpretq_s32_f32(a); }
inline Floats from_bits(Ints a) { return vreinterpretq_f32_s32(a); }

inline Floats gather(const float* from, Ints at) {
  const float found[4] = {from[vgetq_lane_s32(at, 0)], from[vgetq_lane_s32(at, 1)], from[vgetq_lane_s32(at, 2)],
                          from[vgetq_lane_s32(at, 3)]};
  return vld1q_f32(found);
}

inline void store_bytes(int8_t* at, const Ints (&a)[4]) {
  const int16x8_t low = vcombine_s16(vmovn_s32(a[0]), vmovn_s32(a[1]));
  const int16x8_t high = vcombine_s16(vmovn_s32(a[2]), vmovn_s32(a[3]));
  vst1q_s8(at, vcombine_s8(vmovn_s16(low), vmovn_s16(high)));
}

inline void load_alternate(const float* at, Floats (&even)[4], Floats (&odd)[4]) {
  for (int i = 0; i < 4; ++i) {
    const float32x4x2_t both = vld2q_f32(at + 8 * i);
    even[i] = both.val[0];
    odd[i] = both.val[1];
  }
}

}  // namespace lenet::part

namespace lenet {

struct Octet {  // 8 floats
  float32x4_t low, high;
};

inline Octet load_octet(const float* at) { return {vld1q_f32(at), vld1q_f32(at + 4)}; }
inline void store(float* at, Octet a) {
  vst1q_f32(at, a.low);
  vst1q_f32(at + 4, a.high);
}
inline Octet broadcast_octet(float a) { return {vdupq_n_f32(a), vdupq_n_f32(a)}; }
inline Octet fma(Octet a, Octet b, Octet c) {
  return {vfmaq_f32(c.low, a.low, b.low), vfmaq_f32(c.high, a.high, b.high)};
}

/// Returns 16 bits; bit i is set if at[i] == value.
inline unsigned equal_bytes(const int8_t* at, int value) {
  const uint8_t bits[16] = {1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128};
  const uint8x16_t found = vandq_u8(vceqq_s8(vld1q_s8(at), vdupq_n_s8(static_cast<int8_t>(value))), vld1q_u8(bits));
  return vaddv_u8(vget_low_u8(found)) | static_cast<unsigned>(vaddv_u8(vget_high_u8(found))) << 8;
}

}  // namespace lenet
