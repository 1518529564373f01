package upload_test

func gibChild() int { return 1 }
