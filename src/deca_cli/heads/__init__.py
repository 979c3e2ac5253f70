"""Head models of the FLAME form: assets, skinning, landmarks, camera, albedo. Knows no images."""
