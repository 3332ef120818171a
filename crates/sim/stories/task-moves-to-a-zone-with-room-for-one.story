# A task moves to another Availability Zone, whose only port it takes
seed 118
at 0s machine m0 cores 3 memory 3468
at 0s machine m1 cores 3 memory 2303
at 0s machine m2 cores 2 memory 3041
at 0s image deaf ignores stops
at 1s register s0 image deaf cpu 192 memory 128 port 8080
at 12036ms service s0 of s0 desired 3 minimum 0 maximum 150 breaker
at 43927ms machine m3 cores 4 memory 4078
at 119338ms kill server for 60s
at 164707ms register bad image missing cpu 64 memory 192
at 164707ms update s0 to bad
