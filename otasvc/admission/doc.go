// Package admission decides whether an upgrade is begun: one that a person asks for ([Arrived], [Offered],
// [Admit], in this order), one that the policy "auto" or a request for all devices wants ([Available],
// [ByPolicy], [PolicyActs]), and one that a device begins by asking for blocks ([Unsolicited]).
//
// Everything here is a function of its arguments: the package has no clock, no devices and no images, and
// changes nothing. It does not know how an answer is given, how an image is found or fetched, nor what
// becomes of an upgrade.
package admission
