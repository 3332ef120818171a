# A canary is taken back in the middle of its shift: the old tasks go on as if nothing had happened
seed 12
at 0s machine anna cores 4 memory 4096
at 0s machine bert cores 4 memory 4096
at 0s image web runs
at 1s register web image web cpu 128 memory 128
at 2s service web of web desired 3 minimum 100 maximum 200 canary 20 every 120s bake 60s
at 300s register web image web cpu 128 memory 128
at 300s update web to web:2
at 380s network loses 100 repeats 100 delay 500ms
at 390s rollback web
at 391s kill agent anna for 5s
at 400s network
expect web runs 3 of web:1
