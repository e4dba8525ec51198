namespace Quickstart;

/// <summary>Contains the result of a whole run at a peak learning rate.</summary>
/// <param name="Rate">The peak learning rate.</param>
/// <param name="BitsPerByte">The held-out loss after 700 steps.</param>
sealed record RateTrial(double Rate, double BitsPerByte);
