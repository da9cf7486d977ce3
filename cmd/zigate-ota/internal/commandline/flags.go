package commandline

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// duration is the value of a flag that takes a duration such as 10m, or a number of seconds. It is more
// than 0.
type duration time.Duration

// String returns the duration, or an empty text where none was given.
func (d *duration) String() string {
	if *d == 0 {
		return ""
	}
	return time.Duration(*d).String()
}

// Set reads the text of the flag.
func (d *duration) Set(text string) error {
	v, err := time.ParseDuration(text)
	if err != nil {
		v, err = time.ParseDuration(text + "s")
	}
	if err != nil {
		return errors.New("not a duration such as 90s or 10m")
	}
	if v <= 0 {
		return errors.New("must be more than 0")
	}
	*d = duration(v)
	return nil
}

// Type names the kind of value.
func (d *duration) Type() string { return "duration" }

func durationVar(flags *pflag.FlagSet, d *time.Duration, name, usage string) {
	flags.Var((*duration)(d), name, usage)
}

// placeholder is the annotation of a flag with the name of its value, such as FILE.
const placeholder = "placeholder"

// splitUsage takes the name of the flag's value out of its usage, where it stands between backquotes.
func splitUsage(f *pflag.Flag) {
	word, usage := pflag.UnquoteUsage(f)
	f.Usage = usage
	if f.Annotations == nil {
		f.Annotations = map[string][]string{}
	}
	f.Annotations[placeholder] = []string{word}
}

// valueOf returns the name of the flag's value. It is empty where the flag takes none.
func valueOf(f *pflag.Flag) string {
	if words := f.Annotations[placeholder]; len(words) > 0 {
		return words[0]
	}
	return ""
}

// defaultOf returns the flag's default for the help. It is empty for zero values, which need no mention.
func defaultOf(f *pflag.Flag) string {
	switch f.DefValue {
	case "", "0", "0s", "false", "[]":
		return ""
	default:
		return f.DefValue
	}
}

// wrong returns a usage error that names the help of the command.
func wrong(cmd *cobra.Command, format string, args ...any) error {
	problem := fmt.Sprintf(format, args...)
	return &UsageError{fmt.Errorf("%s; see %s help %s", problem, programName, cmd.Name())}
}

// flagProblem says in words what is wrong with a flag.
func flagProblem(cmd *cobra.Command, err error) error {
	var unknown *pflag.NotExistError
	var alone *pflag.ValueRequiredError
	var invalid *pflag.InvalidValueError
	switch {
	case errors.As(err, &unknown) && unknown.GetSpecifiedShortnames() != "":
		return wrong(cmd, "there is no flag -%s", unknown.GetSpecifiedName())
	case errors.As(err, &unknown):
		return wrong(cmd, "there is no flag --%s", unknown.GetSpecifiedName())
	case errors.As(err, &alone):
		return wrong(cmd, "--%s wants %s", alone.GetSpecifiedName(), valueOf(alone.GetFlag()))
	case errors.As(err, &invalid):
		return wrong(cmd, "--%s %q: %v",
			invalid.GetFlag().Name, invalid.GetValue(), valueProblem(invalid))
	default:
		return wrong(cmd, "%v", err)
	}
}

// valueProblem says what is wrong with the value of a flag, without the name of the function that found it.
func valueProblem(invalid *pflag.InvalidValueError) string {
	var number *strconv.NumError
	switch cause := invalid.Unwrap(); {
	case !errors.As(cause, &number):
		return cause.Error()
	case errors.Is(number, strconv.ErrRange):
		return "out of range"
	case invalid.GetFlag().Value.Type() == "bool":
		return "neither true nor false"
	case invalid.GetFlag().Value.Type() == "float64":
		return "not a number"
	default:
		return "not a whole number"
	}
}

// arguments refuses a number of arguments that a command does not take; most is -1 where it takes any number.
func arguments(least, most int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case most == 0 && len(args) > 0:
			return wrong(cmd, "takes no argument, got %q", args[0])
		case len(args) < least, most >= 0 && len(args) > most:
			return wrong(cmd, "wants %s", argumentsOf(cmd))
		default:
			return nil
		}
	}
}
