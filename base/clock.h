/* clock.h - the two clocks. Pure modules take now_ms as an argument instead. Any thread. */
#ifndef MR_BASE_CLOCK_H
#define MR_BASE_CLOCK_H

#include <stdint.h>

uint64_t mr_clock_mono_ms(void); /* never goes back; for durations */
uint64_t mr_clock_mono_us(void);
uint64_t mr_clock_wall_ms(void); /* Unix epoch; for what leaves the process */

#endif
