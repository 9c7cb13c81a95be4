"""The seventeen tasks of the Celo paper (arXiv 2501.12670, section 5.3 and appendix A.8) at their sizes."""
