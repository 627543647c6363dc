; Reset, vertical blank, calls between banks, and the loops that must be fast.
; 16-bit arguments arrive in DE (first) and BC (second), an 8-bit one in A.
	.module crt0
	.globl _main
	.globl _map_stride, _origin_x, _origin_y, _figure_entries, _copy_count

	.area _HOME
	.area _CODE
	.area _INITIALIZER
	.area _GSINIT
	.area _GSFINAL
	.area _DATA
	.area _INITIALIZED
	.area _BSEG
	.area _BSS
	.area _HEAP

h_dma     = 0x80
h_bank    = 0xB8
h_caller  = 0xB9
h_vblank  = 0xBA
h_top     = 0xBE
h_frame   = 0xBB
h_held    = 0xBC
h_pressed = 0xBD

oam_page      = 0xC3
tile_map      = 0xC3A0
tile_tables   = 0xB6	; four pages in cartridge RAM: top left, top right, bottom left, bottom right tile of a metatile

	.area _VECTORS (ABS)
	.org 0x0040
	jp	vblank
	.org 0x0048
	push	af
	ld	a,#1
	ldh	(h_top),a
	pop	af
	reti
	.org 0x0100
	nop
	jp	start

	.org 0x0150
vblank:
	push	af
	ldh	a,(h_frame)
	inc	a
	ldh	(h_frame),a
	xor	a
	ldh	(h_top),a
	inc	a
	ldh	(h_vblank),a
	pop	af
	reti

start:
	di
	ld	sp,#0xDFFF
	xor	a
	ldh	(0x26),a	; sound off
	ldh	(0xFF),a
	ldh	(0x0F),a
	ld	hl,#0xC000
clear_wram:
	xor	a
	ld	(hl+),a
	ld	a,h
	cp	#0xE0
	jr	nz,clear_wram
	ld	hl,#0xFF80
clear_hram:
	xor	a
	ld	(hl+),a
	ld	a,l
	cp	#0xFF
	jr	nz,clear_hram
	ld	a,#0x0A
	ld	(0x0000),a	; cartridge RAM on
	ld	a,#1
	ld	(0x4000),a	; bank 1: the map; bank 0 holds the save
	ld	(0x2000),a
	ldh	(h_bank),a
	ld	hl,#dma_code
	ld	de,#0xFF80
	ld	b,#dma_end-dma_code
copy_dma:
	ld	a,(hl+)
	ld	(de),a
	inc	de
	dec	b
	jr	nz,copy_dma
wait_line:
	ldh	a,(0x44)
	cp	#144
	jr	nz,wait_line
	xor	a
	ldh	(0x40),a	; screen off while video memory is cleared
	ld	hl,#0x8000
clear_vram:
	xor	a
	ld	(hl+),a
	ld	a,h
	cp	#0xA0
	jr	nz,clear_vram
	ld	a,#0xE4
	ldh	(0x47),a
	ld	a,#0xE0		; figures: colour 1 white, 2 dark grey, 3 black
	ldh	(0x48),a
	ldh	(0x49),a
	xor	a
	ldh	(0x42),a
	ldh	(0x43),a
	ld	a,#0x83		; screen, figures and background on; background tiles 0-0x7F at 9000, 0x80-0xFF at 8800
	ldh	(0x40),a
	xor	a
	ldh	(0x45),a
	ld	a,#0x40
	ldh	(0x41),a	; STAT interrupt when line 0 begins
	ld	a,#3
	ldh	(0xFF),a	; vertical blank and line 0
	ei
	call	_main
stop:
	halt
	nop
	jr	stop

dma_code:
	ld	a,#oam_page
	ldh	(0x46),a
	ld	a,#40
dma_wait:
	dec	a
	jr	nz,dma_wait
	ret
dma_end:

; Banked calls: E = bank, HL = function. The callee finds its arguments at sp+6.
___sdcc_bcall_ehl::
	ldh	a,(h_bank)
	push	af
	ldh	(h_caller),a
	ld	a,e
	ldh	(h_bank),a
	ld	(0x2000),a
	call	jump_hl
	pop	hl		; H = the caller's bank
	ld	l,a		; results are in A, BC, DE: keep A
	ld	a,h
	ldh	(h_bank),a
	ld	(0x2000),a
	ld	a,l
	ret
jump_hl:
	jp	(hl)

; void wait_vblank(void): sleeps until the next vertical blank begins. EI takes effect after HALT: none is lost.
_wait_vblank::
	xor	a
	ldh	(h_vblank),a
wait_again:
	di
	ldh	a,(h_vblank)
	or	a
	jr	nz,wait_done
	ei
	halt
	nop
	jr	wait_again
wait_done:
	ei
	ret

; void wait_top(void): sleeps until line 0 of the frame whose vertical blank came last
wait_top_again:
	ei
	halt
	nop
_wait_top::
	di
	ldh	a,(h_top)
	or	a
	jr	z,wait_top_again
	ei
	ret

; void read_buttons(void): h_held and h_pressed
_read_buttons::
	ld	a,#0x20
	ldh	(0x00),a
	ldh	a,(0x00)
	ldh	a,(0x00)
	cpl
	and	#0x0F
	ld	b,a
	ld	a,#0x10
	ldh	(0x00),a
	ldh	a,(0x00)
	ldh	a,(0x00)
	ldh	a,(0x00)
	ldh	a,(0x00)
	cpl
	and	#0x0F
	swap	a
	or	b
	ld	b,a
	ldh	a,(h_held)
	cpl
	and	b
	ldh	(h_pressed),a
	ld	a,b
	ldh	(h_held),a
	ld	a,#0x30
	ldh	(0x00),a
	ret

; void dma(void): shadow OAM to the screen
_dma::
	jp	0xFF80

; void draw_view(const u8 *top_left): wTileMap from 10 x 9 cells of the map
_draw_view::
	ld	bc,#tile_map
	ld	a,#9
draw_row:
	push	af
	ld	a,#tile_tables
	push	de
	call	draw_half
	pop	de
	push	de
	ld	a,#tile_tables+2
	call	draw_half
	pop	de
	ld	a,(_map_stride)
	add	a,e
	ld	e,a
	jr	nc,draw_no_carry
	inc	d
draw_no_carry:
	pop	af
	dec	a
	jr	nz,draw_row
	ret

draw_half:			; A = page of the left tiles; 10 cells from DE to 20 tiles at BC
	ld	h,a
	call	draw_five
draw_five:
	ld	a,(de)
	inc	de
	ld	l,a
	ld	a,(hl)
	ld	(bc),a
	inc	bc
	inc	h
	ld	a,(hl)
	ld	(bc),a
	inc	bc
	dec	h
	ld	a,(de)
	inc	de
	ld	l,a
	ld	a,(hl)
	ld	(bc),a
	inc	bc
	inc	h
	ld	a,(hl)
	ld	(bc),a
	inc	bc
	dec	h
	ld	a,(de)
	inc	de
	ld	l,a
	ld	a,(hl)
	ld	(bc),a
	inc	bc
	inc	h
	ld	a,(hl)
	ld	(bc),a
	inc	bc
	dec	h
	ld	a,(de)
	inc	de
	ld	l,a
	ld	a,(hl)
	ld	(bc),a
	inc	bc
	inc	h
	ld	a,(hl)
	ld	(bc),a
	inc	bc
	dec	h
	ld	a,(de)
	inc	de
	ld	l,a
	ld	a,(hl)
	ld	(bc),a
	inc	bc
	inc	h
	ld	a,(hl)
	ld	(bc),a
	inc	bc
	dec	h
	ret

; void show_row(u8 row): row of wTileMap to the 32 x 32 map of the screen, wrapping
_show_row::
	ld	c,a
	ld	l,a		; DE = wTileMap + 20 * row
	ld	h,#0
	add	hl,hl
	add	hl,hl
	ld	e,l
	ld	d,h
	add	hl,hl
	add	hl,hl
	add	hl,de
	ld	de,#tile_map
	add	hl,de
	ld	e,l
	ld	d,h
	ld	a,(_origin_y)
	add	a,c
	and	#31
	ld	l,a		; HL = 0x9800 + 32 * row of the screen map
	ld	h,#0
	add	hl,hl
	add	hl,hl
	add	hl,hl
	add	hl,hl
	add	hl,hl
	ld	a,h
	add	a,#0x98
	ld	h,a
	ld	c,l		; C = start of the row
	ld	a,(_origin_x)
	ld	b,a
	add	a,l
	ld	l,a
	ld	a,#32
	sub	a,b
	cp	#20
	jr	c,show_wraps
	ld	b,#20
show_one_run:
	ld	a,(de)
	ld	(hl+),a
	inc	de
	dec	b
	jr	nz,show_one_run
	ret
show_wraps:
	ld	b,a
	push	af
show_first_run:
	ld	a,(de)
	ld	(hl+),a
	inc	de
	dec	b
	jr	nz,show_first_run
	pop	af
	ld	b,a
	ld	a,#20
	sub	a,b
	ld	b,a
	; the run may have carried HL into the next row: the first one began at row C, so go back one row
	dec	hl
	ld	l,c
	jr	show_one_run

; void show_columns(u8 column): two columns of wTileMap (column even) to the screen map, wrapping
_show_columns::
	ld	e,a
	ld	d,#0
	ld	hl,#tile_map
	add	hl,de
	ld	a,(_origin_x)
	add	a,e
	and	#31
	ld	c,a
	ld	e,l
	ld	d,h
	ld	a,(_origin_y)
	ld	l,a
	ld	h,#0
	add	hl,hl
	add	hl,hl
	add	hl,hl
	add	hl,hl
	add	hl,hl
	ld	a,l
	add	a,c
	ld	l,a
	ld	a,h
	and	#3
	or	#0x98
	ld	h,a
	ld	b,#18
columns_next:
	ld	a,(de)
	ld	(hl+),a
	inc	de
	ld	a,(de)
	ld	(hl-),a
	ld	a,e
	add	a,#19
	ld	e,a
	jr	nc,columns_source
	inc	d
columns_source:
	ld	a,l
	add	a,#32
	ld	l,a
	jr	nc,columns_target
	ld	a,h
	inc	a
	and	#3
	or	#0x98
	ld	h,a
columns_target:
	dec	b
	jr	nz,columns_next
	ret

; void shift_figures(u16 dy_dx): moves the _figure_entries entries of the shadow OAM behind the player's four
_shift_figures::		; D = dy, E = dx
	ld	a,(_figure_entries)
	or	a
	ret	z
	ld	b,a
	ld	hl,#0xC310
shift_next:
	ld	a,(hl)
	add	a,d
	ld	(hl+),a
	ld	a,(hl)
	add	a,e
	ld	(hl+),a
	inc	l
	inc	l
	dec	b
	jr	nz,shift_next
	ret

; void copy_bytes(u8 *target, const u8 *source): _copy_count bytes, at least one
_copy_bytes::
	ld	hl,#_copy_count
	ld	a,(hl+)
	ld	h,(hl)
	ld	l,a
	push	hl		; count, then DE target, BC source
	ld	a,l
	ld	l,c
	ld	h,b		; HL = source
	pop	bc		; BC = count
	or	a
	jr	z,copy_pages
	inc	b
copy_pages:			; B = pages begun, C = bytes of the first one
copy_next:
	ld	a,(hl+)
	ld	(de),a
	inc	de
	dec	c
	jr	nz,copy_next
	dec	b
	jr	nz,copy_next
	ret

; void video_copy16(u8 *target, const u8 *source): one tile, whenever the screen lets us
_video_copy16::
	ld	l,e
	ld	h,d
	call	video_copy8
video_copy8:
	ldh	a,(0x41)
	and	#2
	jr	nz,video_copy8
	ld	a,(bc)
	ld	(hl+),a
	inc	bc
	ld	a,(bc)
	ld	(hl+),a
	inc	bc
	ld	a,(bc)
	ld	(hl+),a
	inc	bc
	ld	a,(bc)
	ld	(hl+),a
	inc	bc
	ld	a,(bc)
	ld	(hl+),a
	inc	bc
	ld	a,(bc)
	ld	(hl+),a
	inc	bc
	ld	a,(bc)
	ld	(hl+),a
	inc	bc
	ld	a,(bc)
	ld	(hl+),a
	inc	bc
	ret

	.area _GSINIT
	.area _GSFINAL
	ret
