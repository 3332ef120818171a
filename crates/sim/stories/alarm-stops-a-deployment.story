# An alarm without rollback stops a blue/green deployment before any traffic has moved: the old tasks go on
seed 23
at 0s machine anna cores 4 memory 4096
at 0s machine bert cores 4 memory 4096
at 0s image web runs
at 1s register web image web cpu 128 memory 128
at 2s service web of web desired 2 minimum 100 maximum 200 alarm stops blue-green bake 60s pause POST_SCALE_UP for 240s
at 100s alarm web for 20s
at 300s register web image web cpu 128 memory 128
at 300s update web to web:2
at 400s alarm web for 30s
expect web says deployment failed: alarm detected.
