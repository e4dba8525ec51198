/// <summary>Contains the result of a whole run at a peak learning rate.</summary>
/// <param name="Rate">The peak learning rate.</param>
/// <param name="Loss">The held-out loss at the end of the run.</param>
sealed record RateTrial(double Rate, double Loss);
