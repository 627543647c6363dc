/* Messages with names in them. A template lies in the bank of the file that includes this; '@' and '#' stand for
 * say_name_1 and say_name_2, '%' for say_value. Lines have 18 characters.
 */
#ifndef MESSAGE_H
#define MESSAGE_H
#include "game.h"

extern char say_name_1[16], say_name_2[16];
extern u16 say_value;
extern char message_line[80];

static char *message_append(char *out, const char *s) {
  while (*s) *out++ = *s++;
  return out;
}

static char *message_number(char *out, u16 value) {
  char digits[5];
  u8 n = 0;
  do {
    digits[n++] = '0' + (u8)(value % 10);
    value /= 10;
  } while (value);
  while (n) *out++ = digits[--n];
  return out;
}

static void message_build(const char *template) {
  char *out = message_line, c;
  while ((c = *template++) != 0) {
    if (c == '@')
      out = message_append(out, say_name_1);
    else if (c == '#')
      out = message_append(out, say_name_2);
    else if (c == '%')
      out = message_number(out, say_value);
    else
      *out++ = c;
  }
  *out = 0;
}

static void say(const char *template) {
  message_build(template);
  ui_message(message_line);
}

#endif
