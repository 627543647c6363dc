; The ROM addresses that observers of the original hook: each is one `ret`, passed by the game at the moment it means.
	.module hooks
	.area _HOOKS (ABS)
	.org 0x06CC
_hook_check_warps::
	ret
	.org 0x0931
_hook_black_out::
	ret
	.org 0x0B54
_hook_sign::
	ret
	.org 0x296E
_hook_sprite::
	ret
	.org 0x2ACD
_hook_start_menu::
	ret
	.org 0x2ADF
_hook_start_menu_again::
	ret
; switchable banks: passed by hook_far(bank, address)
	.org 0x017090		; SetLastBlackoutMap.done
	ret
	.org 0x0356FA		; ItemUseBall.loop
	ret
	.org 0x0359CD		; ItemUseSurfboard.surf
	ret
	.org 0x03618A		; ItemUsePokeFlute.noSnorlaxToWakeUp
	ret
	.org 0x036237		; PlayedFluteHadEffectText.done
	ret
	.org 0x0365B6		; SurfingAttemptFailed
	ret
	.org 0x036F77		; UsedCut.nothingToCut
	ret
	.org 0x036F82		; UsedCut.canCut
	ret
	.org 0x0470A9		; StartMenu_Pokemon
	ret
	.org 0x047149		; StartMenu_Pokemon.choseStats
	ret
	.org 0x047302		; StartMenu_Item
	ret
	.org 0x04733F		; StartMenu_Item.choseItem
	ret
	.org 0x0478ED		; TryDoWildEncounter.gotWildEncounterType + 8
	ret
	.org 0x1169F0		; CheckForHiddenObject.foundMatchingObject
	ret
	.org 0x1C4433		; AnimateHealingMachine
	ret
