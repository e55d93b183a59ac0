"""What people would write instead, plainly and in good faith. Each file runs alone, with nothing of glyffctl in it."""
