package durable

import (
	"reflect"
	"testing"
	"time"

	"tokenserver/internal/clock"
	"tokenserver/shard"
)

const (
	minute = time.Minute
	hour   = time.Hour
)

// TestShift relates the timestamps of an epoch to the current one's.
func TestShift(t *testing.T) {
	tests := []struct {
		name   string
		epochs []epoch
		want   time.Duration // from the first epoch
	}{
		{"itself", []epoch{{Boot: "a", BootZero: 5}}, 0},
		{"same boot", []epoch{{Boot: "a", BootZero: hour, WallZero: 100}, {Boot: "a", BootZero: 3 * hour}}, -2 * hour},
		{"same boot, whose clock went back", []epoch{{Boot: "a", BootZero: 3 * hour, WallZero: int64(hour)}, {Boot: "a", BootZero: hour, WallZero: int64(2 * hour)}}, -hour},
		{"unknown boots", []epoch{{WallZero: int64(hour)}, {WallZero: int64(3 * hour)}}, -2 * hour},
		{"another boot", []epoch{{Boot: "a", BootZero: 5, WallZero: int64(hour)}, {Boot: "b", WallZero: int64(3 * hour)}}, -2 * hour},
		{"another boot, whose wall clock was set later", []epoch{
			{Boot: "a", BootZero: 0, WallZero: 0},
			{Boot: "a", BootZero: hour, WallZero: int64(11 * hour)},
			{Boot: "b", BootZero: 0, WallZero: int64(12 * hour)},
		}, -2 * hour},
	}
	for _, test := range tests {
		for i := range test.epochs {
			test.epochs[i].Number = uint32(i + 1)
		}
		if got := newTimeline(test.epochs)[1].shift; got != test.want {
			t.Errorf("%s: the shift is %v, want %v", test.name, got, test.want)
		}
	}
}

// TestForgottenEpochs: what an epoch that is not needed has told of its boot is known to
// the others of that boot; and none is forgotten for one of another boot.
func TestForgottenEpochs(t *testing.T) {
	list := []epoch{
		{Number: 1, Boot: "a", Lifetime: hour},
		{Number: 2, Boot: "a", BootZero: hour, WallZero: int64(hour), Lifetime: hour},
		{Number: 3, Boot: "a", BootZero: 2 * hour, WallZero: int64(9 * hour), Lifetime: hour},
		{Number: 4, Boot: "b", WallZero: int64(10 * hour), Lifetime: hour},
		{Number: 5, Boot: "b", BootZero: hour, WallZero: int64(11 * hour), Lifetime: hour},
	}
	timeline := newTimeline(list)
	timeline.find(1).used.Store(true)
	got := timeline.needed()
	list[0].WallZero, list[1].WallZero = int64(7*hour), int64(8*hour)
	if want := []epoch{list[0], list[1], list[3], list[4]}; !reflect.DeepEqual(got, want) {
		t.Errorf("needed are %+v, want %+v", got, want)
	}
}

func TestHere(t *testing.T) {
	tests := []struct {
		t     clock.Timestamp
		shift time.Duration
		want  clock.Timestamp
	}{
		{5, 3, 8}, {5, -3, 2}, {5, -5, 1}, {5, -6, -1},
		{never - 1, 2, never}, {never, never, never}, {-never, -2, -never}, {-never, -never, -never},
	}
	for _, test := range tests {
		r := relation{shift: test.shift}
		if got := r.here(test.t); got != test.want {
			t.Errorf("timestamp %d, shifted by %d, = %d, want %d", test.t, test.shift, got, test.want)
		}
	}
}

func TestLimits(t *testing.T) {
	ts := func(d time.Duration) clock.Timestamp { return clock.Timestamp(d) }
	l := limits{start: ts(minute), idle: ts(hour), absolute: never, maxLifetime: never}
	m := limits{start: ts(minute), idle: ts(hour), absolute: ts(2 * hour), maxLifetime: 90 * minute}
	tests := []struct {
		name      string
		limits    limits
		from      shard.State
		expires   time.Duration
		absolute  time.Duration
		unchanged bool
	}{
		{"none", noLimits, shard.State{Expires: ts(9 * hour)}, 9 * hour, 0, true},
		{"idle, below", l, shard.State{Expires: ts(minute)}, minute, 0, true},
		{"idle", l, shard.State{Expires: ts(9 * hour)}, hour, 0, false},
		{"own lifetime", l, shard.State{Expires: ts(9 * hour), Lifetime: 3 * hour}, 3*hour + minute, 0, false},
		{"absolute, unknown creation", m, shard.State{Expires: ts(9 * hour), Lifetime: 9 * hour}, 2 * hour, 2 * hour, false},
		{"absolute, old", m, shard.State{Expires: ts(30 * minute), Created: ts(-hour)}, 30 * minute, 30 * minute, false},
		{"absolute, has an earlier one", m, shard.State{Expires: ts(10 * minute), AbsoluteDeadline: ts(20 * minute)}, 10 * minute, 20 * minute, true},
		{"absolute, has one that the rule would not give", m, shard.State{Expires: ts(10 * minute), AbsoluteDeadline: ts(hour), Created: ts(-hour)}, 10 * minute, hour, true},
		{"absolute, has a later one", m, shard.State{Expires: ts(10 * minute), AbsoluteDeadline: ts(9 * hour)}, 10 * minute, 2 * hour, false},
	}
	for _, test := range tests {
		got, want := test.from, test.from
		test.limits.apply(&got)
		want.Expires, want.AbsoluteDeadline = ts(test.expires), ts(test.absolute)
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v becomes %+v, want %+v", test.name, test.from, got, want)
		}
	}
}

// TestNeeded keeps what a value is of, and what limits older values most.
func TestNeeded(t *testing.T) {
	tests := []struct {
		name      string
		lifetimes []time.Duration // of the epochs, an hour each
		used      []int           // numbers; 0 is the wall clock's
		want      []uint32
	}{
		{"the current alone", []time.Duration{hour}, nil, []uint32{1}},
		{"no values", []time.Duration{hour, hour, hour}, nil, []uint32{3}},
		{"one value", []time.Duration{hour, hour, hour, hour}, []int{1}, []uint32{1, 2, 4}},
		{"values of version 1", []time.Duration{9 * hour, hour, hour}, []int{0}, []uint32{1, 2, 3}},
		{"each limits less", []time.Duration{hour, hour, 2 * hour, 3 * hour, hour}, []int{1}, []uint32{1, 2, 5}},
		{"each limits more", []time.Duration{9 * hour, 8 * hour, 6 * hour, 4 * hour, hour}, []int{1}, []uint32{1, 2, 3, 4, 5}},
		{"values in between", []time.Duration{hour, hour, hour, hour, hour, hour}, []int{1, 4}, []uint32{1, 2, 4, 5, 6}},
		{"values after", []time.Duration{hour, hour, hour, hour}, []int{3}, []uint32{3, 4}},
	}
	for _, test := range tests {
		var list []epoch
		for i, lifetime := range test.lifetimes {
			list = append(list, epoch{Number: uint32(i + 1), WallZero: int64(i) * int64(hour), Start: 1, Lifetime: lifetime})
		}
		timeline := newTimeline(list)
		for _, n := range test.used {
			timeline.find(uint32(n)).used.Store(true)
		}
		var got []uint32
		for _, e := range timeline.needed() {
			got = append(got, e.Number)
		}
		if !reflect.DeepEqual(got, test.want) {
			t.Errorf("%s: needed are %d, want %d", test.name, got, test.want)
		}
	}
}

// TestNeededAfterClockBehind: an epoch that leaves all, since its clock was behind, says
// nothing of those after it.
func TestNeededAfterClockBehind(t *testing.T) {
	for _, boots := range [][4]string{{}, {"a", "b", "c", "c"}} {
		list := []epoch{
			{Boot: boots[0], WallZero: int64(10 * hour), Lifetime: hour},
			{Boot: boots[1], WallZero: 0, Lifetime: hour},
			{Boot: boots[2], WallZero: int64(11 * hour), Lifetime: 2 * hour},
			{Boot: boots[3], WallZero: int64(12 * hour), BootZero: hour, Lifetime: 9 * hour},
			{WallZero: int64(13 * hour), Lifetime: hour},
		}
		for i := range list {
			list[i].Number, list[i].Start = uint32(i+1), 1
		}
		timeline := newTimeline(list)
		timeline.find(1).used.Store(true)
		got, want := timeline.needed(), []epoch{list[0], list[1], list[2], list[4]}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("boots %q: needed are %+v, want %+v", boots, got, want)
		}
	}
}
