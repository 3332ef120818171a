# A daemon has one task on every machine, also on those that come later, and none where it may not be
seed 4
at 0s machine anna cores 2 memory 2048
at 0s image log runs
at 1s register log image log cpu 64 memory 64
at 2s daemon log of log
at 20s machine bert cores 2 memory 2048
at 40s machine cleo cores 2 memory 2048
at 45s kill server for 5s
at 80s drain anna
at 150s activate anna
at 160s machine dora cores 2 memory 2048
at 165s lose bert for 60s
expect log runs 4 of log:1
