/* Bank 0: what every bank may call at any time - frames, reading other banks, chance, event flags. */
#include "engine.h"

u8 scroll_x, scroll_y, origin_x, origin_y;
u8 oam_dirty, new_strip, figure_entries;
u16 copy_count;
static u16 random_state;

static void show_strip(void) {
  switch (new_strip) {
  case STRIP_TOP: show_row(0); show_row(1); break;
  case STRIP_BOTTOM: show_row(16); show_row(17); break;
  case STRIP_LEFT: show_columns(0); break;
  case STRIP_RIGHT: show_columns(18); break;
  }
  new_strip = STRIP_NONE;
}

/* What is prepared is shown in the vertical blank. The game goes on at line 0: observers look at the RAM there, before it,
 * so they never see half of a change unless it takes a whole frame. */
void frame(void) {
  wait_vblank();
  if (oam_dirty) {
    dma();
    oam_dirty = 0;
  }
  rSCX = scroll_x;
  rSCY = scroll_y;
  if (new_strip) show_strip();
  wait_top();
  read_buttons();
}

void wait_frames(u8 n) {
  while (n--) frame();
}

static void map_bank_in(u8 bank) {
  hBank = bank;
  rROMB = bank;
}

u8 far_peek(u8 bank, const u8 *p) {
  u8 before = hBank, value;
  map_bank_in(bank);
  value = *p;
  map_bank_in(before);
  return value;
}

u16 far_peek16(u8 bank, const u8 *p) {
  u8 before = hBank;
  u16 value;
  map_bank_in(bank);
  value = p[0] | ((u16)p[1] << 8);
  map_bank_in(before);
  return value;
}

void far_copy(u8 *dst, u8 bank, const u8 *src, u16 n) {
  u8 before = hBank;
  if (!n) return;
  map_bank_in(bank);
  copy_count = n;
  copy_bytes(dst, src);
  map_bank_in(before);
}

void video_copy(u8 *target, u8 bank, const u8 *source, u16 tiles) {
  u8 before = hBank;
  map_bank_in(bank);
  while (tiles--) {
    video_copy16(target, source);
    target += 16;
    source += 16;
  }
  map_bank_in(before);
}

void hook_far(u8 bank, u16 addr) {
  u8 before = hBank;
  map_bank_in(bank);
  ((void (*)(void))addr)();
  map_bank_in(before);
}

void save_bank(u8 on) { rRAMB = on ? 0 : 1; }

/* xorshift, stirred by the number of frames that went by: the same state and buttons give the same chance */
u8 random8(void) {
  u16 x = random_state + hFrame + 1;
  if (!x) x = 0x2545;
  x ^= x << 7;
  x ^= x >> 9;
  x ^= x << 8;
  random_state = x;
  return (u8)(x >> 3);
}

/* Event indices from 0xA00 on are the flags of hidden items. */
static volatile u8 *event_byte(u16 event) {
  if (event >= 0xA00) return &wObtainedHiddenItemsFlags[(event - 0xA00) >> 3];
  return &wEventFlags[event >> 3];
}

u8 event_get(u16 event) { return (*event_byte(event) >> (event & 7)) & 1; }

void event_set(u16 event) { *event_byte(event) |= (u8)(1 << (event & 7)); }

void event_clear(u16 event) { *event_byte(event) &= (u8) ~(1 << (event & 7)); }

void main(void) {
  party_new_game(); /* first: what observers rely on holds from here on */
  font_load();
  title_run();
  overworld_run();
}
