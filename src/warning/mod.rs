//! Reaching people about an alarm (叫应): the words of a notice.
