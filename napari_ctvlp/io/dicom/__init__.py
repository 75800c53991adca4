"""DICOM: folders, files and DICOMDIR, read in five steps.

``headers`` finds and parses files, ``frames`` says what each slice is worth, ``stacks`` puts
slices in order, ``pixels`` decodes them, ``objects`` lists segmentations and contours, and
``reader`` joins the five.
"""
