# A deployment whose tasks can't run fails, and the one before it comes back
seed 5
at 0s machine anna cores 2 memory 2048
at 0s machine bert cores 2 memory 2048
at 0s image good runs
at 1s register web image good cpu 128 memory 128
at 2s service web of web desired 4 minimum 100 maximum 200 breaker
# There is no such image.
at 60s register web image missing cpu 128 memory 128
at 60s update web to web:2
at 90s kill agent anna for 3s
expect web runs 4 of web:1
expect web says rolling back to
