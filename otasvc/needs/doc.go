// Package needs decides what one device needs of its downloads: how large its blocks may be and how quickly
// they follow each other, for how long it may be silent, and how often it is told of an image. What a person
// has set for the device comes before what was learned of it, that before what is known of its maker's
// devices, and that before what is configured for all.
//
// Everything here is a function of its arguments. The package knows no devices, no clock and no radio, and
// does not know what becomes of its limits.
package needs
