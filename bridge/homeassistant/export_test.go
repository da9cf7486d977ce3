package homeassistant

// FormatVersion returns a file version as Home Assistant shows it.
func FormatVersion(v uint32) string { return formatVersion(v) }
