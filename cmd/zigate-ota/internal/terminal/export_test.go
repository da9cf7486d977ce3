package terminal

// Width returns how many columns a text takes.
func Width(text string) int { return textWidth(text) }

// Pad cuts a text to a width or fills it up with spaces.
func Pad(text string, width int) string { return pad(text, width) }
