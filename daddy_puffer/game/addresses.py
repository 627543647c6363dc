"""Where the game keeps what: named RAM addresses, each with its symbol in pret/pokered.

Multi-byte numbers are big-endian (HP, stats, safari steps); money is binary-coded decimal.
"""

from __future__ import annotations

FACING = 0xC109  # wSpritePlayerStateData1FacingDirection: 0 down, 4 up, 8 left, 12 right
SPRITES = 0xC214  # wSprite01StateData2MapY, then its MapX, both 4 too high; the next person 16 bytes on
SPRITE_BYTES = 16
MOST_SPRITES = 15
SPRITE_OFFSET = 4
CURRENT_MENU_ITEM = 0xCC26  # wCurrentMenuItem
JOY_IGNORE = 0xCD6B  # wJoyIgnore: buttons the game does not read now
FONT_LOADED = 0xCFC4  # wFontLoaded: a text box is open
TILE_IN_FRONT = 0xCFC6  # wTileInFrontOfPlayer
ENEMY_FIGHTER = 0xCFE5  # wEnemyMon: the opponent's creature that fights; what was there last outside battle
FIGHTER_BYTES = 29  # bytes of a battle struct
IS_IN_BATTLE = 0xD057  # wIsInBattle: 0 no, 1 wild, 2 trainer, 255 lost
PARTY_COUNT = 0xD163  # wPartyCount
PARTY_MONS = 0xD16B  # wPartyMons: 6 structs
PARTY_STRIDE = 44  # bytes of a party struct
PARTY_SLOTS = 6
DEX_OWNED = 0xD2F7  # wPokedexOwned, 19 bytes
DEX_SEEN = 0xD30A  # wPokedexSeen, 19 bytes
DEX_BYTES = 19
BAG_COUNT = 0xD31D  # wNumBagItems
BAG_ITEMS = 0xD31E  # wBagItems: 20 pairs of item and quantity
BAG_SLOTS = 20
MONEY = 0xD347  # wPlayerMoney: 3 bytes of decimal digits
BADGES = 0xD356  # wObtainedBadges
MAP = 0xD35E  # wCurMap
Y = 0xD361  # wYCoord
X = 0xD362  # wXCoord
TILESET = 0xD367  # wCurMapTileset
SPRITE_COUNT = 0xD4E1  # wNumSprites: people on the map beside the player
MISSABLES = 0xD5A6  # wMissableObjectFlags
MISSABLE_BYTES = 32
SS_ANNE_2F_SCRIPT = 0xD665  # wSSAnne2FCurScript: 4 = the third rival battle is over
SURFING = 0xD700  # wWalkBikeSurfState
SAFARI_STEPS = 0xD70D  # wSafariSteps
BLACKOUT_MAP = 0xD719  # wLastBlackoutMap
STATUS_FLAGS_1 = 0xD728  # wStatusFlags1
STATUS_FLAGS_4 = 0xD72E  # wStatusFlags4
MOVEMENT_FLAGS = 0xD736  # wMovementFlags
TEXT_ID = 0xFF8C  # hSpriteIndexOrTextID: number on the map of whoever is spoken to, or of the sign that is read
EVENTS = 0xD747  # wEventFlags, bit i = byte i // 8, bit i % 8
EVENT_BYTES = 320

# offsets inside a party struct
MON_SPECIES = 0x00
MON_HP = 0x01
MON_STATUS = 0x04
MON_TYPE_1 = 0x05
MON_TYPE_2 = 0x06
MON_MOVES = 0x08
MON_EXPERIENCE = 0x0E
MON_PP = 0x1D
MON_LEVEL = 0x21
MON_MAX_HP = 0x22
MON_ATTACK = 0x24
MON_DEFENSE = 0x26
MON_SPEED = 0x28
MON_SPECIAL = 0x2A

# offsets inside a battle struct
FIGHTER_SPECIES = 0x00
FIGHTER_HP = 0x01
FIGHTER_LEVEL = 0x0E
FIGHTER_MAX_HP = 0x0F
