# Tasks move to another Availability Zone after everything was calm, and what they leave ends later
seed 3741
at 0s machine m1 cores 4 memory 3660
at 0s machine m2 cores 4 memory 3628
at 0s machine m3 cores 4 memory 2695
at 0s image deaf ignores stops
at 1s register s0 image deaf cpu 64 memory 64 port 0
at 1s register job1 image broken cpu 64 memory 192
at 10668ms runtime m3 down for 52191ms
at 13102ms service s0 of s0 desired 3 minimum 0 maximum 200 balanced grace 58s
at 38612ms run job1 count 3
at 72911ms crash any container
at 85145ms crash any container
at 103939ms kill server for 60s
at 113629ms lose m2 for 2020ms
at 114484ms run job2 count 2
at 166277ms run job0 count 1
at 195184ms sicken s0
at 202092ms break m3
at 211715ms update s0 desired 5
at 236403ms lose m2 for 34433ms
at 279645ms disk server full for 40s

