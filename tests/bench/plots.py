def draw(name, chapter, out):
    return []
