"""People and things that stand on the map.

A person is a head over a body, each drawn down, up and left (right is left mirrored) and, for the body, standing and
walking. Shades of sprites: space transparent, `.` white, `+` dark, `#` black; `h` is replaced by the hair's shade and
`c` by the clothes' shade. A thing is one 16x16 drawing.
"""

HEADS = {
    "cap": {
        "down": """
     ######     
   ##hhhhhh##   
   #hhhhhhhh#   
  #hhhhhhhhhh#  
  ############  
  ##........##  
  #..##..##..#  
  #..##..##..#  
   #........#   
""",
        "up": """
     ######     
   ##hhhhhh##   
   #hhhhhhhh#   
  #hhhhhhhhhh#  
  #hhhhhhhhhh#  
  ############  
  ############  
  #.########.#  
   ##########   
""",
        "left": """
     ######     
   ##hhhhhh##   
   #hhhhhhhh#   
  #hhhhhhhhhh#  
 ########hhhh#  
   #...######   
   #.##..####   
   #.##...##    
    #.....#     
""",
    },
    "short": {
        "down": """
     ######     
   ##hhhhhh##   
  #hhhhhhhhhh#  
  #hhhhhhhhhh#  
  #hh..hh..hh#  
  #..........#  
  #..##..##..#  
  #..##..##..#  
   #........#   
""",
        "up": """
     ######     
   ##hhhhhh##   
  #hhhhhhhhhh#  
  #hhhhhhhhhh#  
  #hhhhhhhhhh#  
  #hhhhhhhhhh#  
  #hhhhhhhhhh#  
  #.hhhhhhhh.#  
   #........#   
""",
        "left": """
     ######     
   ##hhhhhh##   
  #hhhhhhhhhh#  
  #hhhhhhhhhh#  
  #....hhhhhh#  
   #.....hhhh#  
   #.##..hhh#   
   #.##....#    
    #.....#     
""",
    },
    "long": {
        "down": """
     ######     
   ##hhhhhh##   
  #hhhhhhhhhh#  
 #hhhhhhhhhhhh# 
 #hhh..hh..hhh# 
 #hh........hh# 
 #hh##....##hh# 
 #hh##....##hh# 
 #hh#......#hh# 
""",
        "up": """
     ######     
   ##hhhhhh##   
  #hhhhhhhhhh#  
 #hhhhhhhhhhhh# 
 #hhhhhhhhhhhh# 
 #hhhhhhhhhhhh# 
 #hhhhhhhhhhhh# 
 #hhhhhhhhhhhh# 
 #hhhhhhhhhhhh# 
""",
        "left": """
     ######     
   ##hhhhhh##   
  #hhhhhhhhhh#  
  #hhhhhhhhhhh# 
  #....hhhhhhh# 
   #.....hhhhh# 
   #.##..hhhhh# 
   #.##..hhhhh# 
    #...#hhhhh# 
""",
    },
    "bald": {
        "down": """
     ######     
   ##......##   
  #..........#  
  #..........#  
  #.++....++.#  
  #..........#  
  #..##..##..#  
  #.hhhhhhhh.#  
   #hhhhhhhh#   
""",
        "up": """
     ######     
   ##......##   
  #..........#  
  #..........#  
  #..........#  
  #..........#  
  #hh......hh#  
  #hhhhhhhhhh#  
   #hhhhhhhh#   
""",
        "left": """
     ######     
   ##......##   
  #..........#  
  #..........#  
  #.++.......#  
   #.........#  
   #.##....h#   
   #hhhh..hh#   
    #hhh..#     
""",
    },
    "crest": {
        "down": """
  ##  ####  ##  
  #h##hhhh##h#  
  #hhhhhhhhhh#  
  ##hhhhhhhh##  
  #h##....##h#  
  #..........#  
  #..##..##..#  
  #..##..##..#  
   #........#   
""",
        "up": """
  ##  ####  ##  
  #h##hhhh##h#  
  #hhhhhhhhhh#  
  #hhhhhhhhhh#  
  #hhhhhhhhhh#  
  ##hhhhhhhh##  
  ##hhhhhhhh##  
  #..######..#  
   #........#   
""",
        "left": """
    ####  ####  
   #hhhh##hhh#  
  #hhhhhhhhhh#  
  ##hhhhhhhh##  
  #...##hhhhhh# 
   #.....hhhh#  
   #.##..hhh#   
   #.##....#    
    #.....#     
""",
    },
}

BODIES = {
    "down": (
        """
   ##########   
  #cc##cc##cc#  
 #..cccccccc..# 
 #..cccccccc..# 
  ##cccccccc##  
   #ccc##ccc#   
   ####  ####   
""",
        """
   ##########   
  #cc##cc##cc#  
 #..cccccccc.#  
 #..cccccccc#   
  ##cccccccc#   
   #ccc######   
   ####         
""",
    ),
    "up": (
        """
   ##########   
  #cccccccccc#  
 #..cccccccc..# 
 #..cccccccc..# 
  ##cccccccc##  
   #ccc##ccc#   
   ####  ####   
""",
        """
   ##########   
  #cccccccccc#  
 #..cccccccc.#  
 #..cccccccc#   
  ##cccccccc#   
   #ccc######   
   ####         
""",
    ),
    "left": (
        """
    ########    
    #cccccc#    
    #c..ccc#    
    #c..ccc#    
    #cccccc#    
    #cccccc#    
    ########    
""",
        """
    ########    
    #cccccc#    
   #..ccccc#    
   #..cccc..#   
    #ccccccc#   
   #ccc##ccc#   
   ####  ####   
""",
    ),
}

# name: (picture id, head, shade of the hair, shade of the clothes); 0x3F and 0x43 mean other things to programs outside
PEOPLE = {
    "PLAYER": (1, "cap", "+", "+"),
    "BOY": (2, "short", "#", "+"),
    "GIRL": (3, "long", "+", "#"),
    "MAN": (4, "short", "+", "#"),
    "OLD_MAN": (5, "bald", "+", "#"),
    "WOMAN": (6, "long", "#", "."),
    "SCHOLAR": (7, "short", "#", "."),
    "NURSE": (8, "long", "+", "."),
    "CLERK": (9, "cap", "+", "#"),
    "GUARD": (10, "cap", "#", "#"),
    "CADET": (11, "cap", "#", "+"),
    "HIKER": (12, "bald", "#", "#"),
    "RIVAL": (13, "crest", "+", "#"),
    "STONE_LEADER": (14, "crest", "#", "+"),
    "TIDE_LEADER": (15, "long", "+", "#"),
}

THINGS = {
    "BALL": (
        16,
        """
                
                
      ####      
    ##++++##    
   #++++++++#   
  #++..++++++#  
  #++..++++++#  
  ############  
  ####....####  
  #..#....#..#  
  #...####...#  
   #........#   
    ##....##    
      ####      
                
                
""",
    ),
}
