package contract

import "slices"

// EndStates lists the states of an upgrade that has ended.
func EndStates() []State {
	return slices.DeleteFunc(States(), func(s State) bool { return !s.Ended() })
}

// Sources lists every source of images.
func Sources() []Source { return []Source{SourceRegistered, SourceIndex, SourceFolder} }

// CheckStatuses lists every outcome of a check.
func CheckStatuses() []CheckStatus {
	return []CheckStatus{CheckPassed, CheckFailed, CheckNotVerifiable}
}
