/* Bag and money, straight on the RAM map: others may rewrite both at any time. */
#pragma bank 5
#include "engine.h"

#define MAX_KINDS 19

static u8 find(u8 item) {
  u8 i;
  for (i = 0; i < wNumBagItems; i++)
    if (wBagItems[i << 1] == item) return i;
  return 255;
}

u8 bag_has(u8 item) __banked {
  u8 i = find(item);
  return i == 255 ? 0 : wBagItems[(i << 1) + 1];
}

u8 bag_add(u8 item, u8 n) __banked {
  u8 i = find(item), *p;
  if (i == 255) {
    if (wNumBagItems >= MAX_KINDS) return 0;
    i = wNumBagItems << 1;
    p = (u8 *)&wBagItems[i];
    p[2] = 0xFF;
    p[1] = n;
    p[0] = item;
    wNumBagItems++;
    return 1;
  }
  p = (u8 *)&wBagItems[(i << 1) + 1];
  if (*p + n > 99) return 0;
  *p += n;
  return 1;
}

void bag_remove(u8 item, u8 n) __banked {
  u8 i = find(item), last, *p;
  if (i == 255) return;
  p = (u8 *)&wBagItems[i << 1];
  if (p[1] > n) {
    p[1] -= n;
    return;
  }
  if (wNumBagItems == 1) return; /* one kind always stays */
  last = wNumBagItems - 1;
  for (; i < last; i++) {
    p[1] = p[3];
    p[0] = p[2];
    p += 2;
  }
  wNumBagItems = last;
  p[0] = 0xFF;
  p[1] = 0xFF;
}

/* ---- money: six BCD digits ---- */

static u32 money_get(void) {
  u8 i;
  u32 value = 0;
  for (i = 0; i < 3; i++) value = value * 100 + (wPlayerMoney[i] >> 4) * 10 + (wPlayerMoney[i] & 15);
  return value;
}

static void money_set(u32 value) {
  u8 i, pair;
  if (value > 999999) value = 999999;
  for (i = 3; i--;) {
    pair = (u8)(value % 100);
    value /= 100;
    wPlayerMoney[i] = (u8)((pair / 10) << 4) | (pair % 10);
  }
}

void money_add(u16 amount) __banked { money_set(money_get() + amount); }

u8 money_pay(u16 amount) __banked {
  u32 money = money_get();
  if (money < amount) return 0;
  money_set(money - amount);
  return 1;
}

void money_halve(void) __banked { money_set(money_get() >> 1); }

void money_text(char *out) __banked {
  u8 i, digit, shown = 0;
  *out++ = '$';
  for (i = 0; i < 6; i++) {
    digit = wPlayerMoney[i >> 1];
    digit = i & 1 ? digit & 15 : digit >> 4;
    if (digit || i == 5) shown = 1;
    *out++ = shown ? '0' + digit : ' ';
  }
  *out = 0;
}
