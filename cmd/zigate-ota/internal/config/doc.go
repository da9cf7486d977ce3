// Package config makes the service's configuration out of environment variables: their names, defaults,
// meaning and limits, the checks, all mistakes at once, and the configuration in print with its secrets
// masked. The example file and the reference of all variables are made of the same struct.
//
// It does not know the parts of the service that are configured, nor how they are put together: turning a
// [Config] into their options is the wiring's business.
package config
